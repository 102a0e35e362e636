from pathlib import Path

import cv2
import numpy as np
import pytest

from teledx_fed.config.data import HospitalSettings
from teledx_fed.core.clinical import Fault
from teledx_fed.core.examples import Photograph
from teledx_fed.data import retina
from teledx_fed.data.array_photographs import PhotographInMemory
from teledx_fed.data.assessment import assess
from teledx_fed.data.disc import optic_disc
from teledx_fed.data.photographs import PhotographFile
from teledx_fed.data.preprocessing import prepare_photograph
from teledx_fed.data.quality import faults
from teledx_fed.data.synthetic import hospital


@pytest.fixture(scope="module", params=["fundus.png", "fundus.jpg", "noise.png", "dark.png"])
def photograph(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Photograph:
    """A JPEG file larger than twice the model's input is decoded at a fraction of its size."""
    (example, *_) = hospital("north", HospitalSettings(1, "canon"), seed=0).examples
    pixels = {
        "fundus": example.image.read(),
        "noise": np.random.default_rng(0).integers(0, 256, (200, 300, 3), dtype=np.uint8),
        "dark": np.zeros((60, 80, 3), np.uint8),
    }
    file = tmp_path_factory.mktemp("photographs") / request.param
    cv2.imwrite(str(file), pixels[file.stem][..., ::-1])
    return PhotographFile(file)


@pytest.mark.parametrize("options", [{}, {"ben_graham": True, "clahe": True}])
def test_an_assessed_photograph_equals_its_separately_computed_parts(
    photograph: Photograph, options: dict[str, bool]
) -> None:
    assessed = assess(photograph, 64, **options)
    np.testing.assert_array_equal(assessed.pixels, photograph.read())
    assert assessed.faults == faults(photograph.read())
    if Fault.NOT_A_FUNDUS in assessed.faults:
        assert (assessed.prepared, assessed.disc) == (None, None)
    else:
        np.testing.assert_array_equal(assessed.prepared, prepare_photograph(photograph, 64, **options))
        assert assessed.disc == optic_disc(photograph.read())
        assert assessed.disc is not None


def test_a_photograph_is_decoded_and_scaled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    (example, *_) = hospital("north", HospitalSettings(1, "canon"), seed=0).examples
    calls: list[str] = []

    class Counted(PhotographInMemory):
        def read(self) -> np.ndarray:
            calls.append("read")
            return super().read()

    retina_of = retina.retina_of

    def counted(pixels: np.ndarray) -> retina.Retina:
        calls.append("retina")
        return retina_of(pixels)

    monkeypatch.setattr(retina, "retina_of", counted)
    assert assess(Counted("upload", example.image.read()), 64).prepared is not None
    assert calls == ["read", "retina"]


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "empty.png"
    file.touch()
    with pytest.raises(ValueError, match="must be an image, got an empty file"):
        assess(PhotographFile(file), 64)
