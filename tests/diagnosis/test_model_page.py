"""The page about the model in use."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from points import points
from test_administration import Person

from teledx_fed.core.operating_points import Source
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.model.bundle import GRAPH
from teledx_fed.store.values import Role


def test_the_model_page_shows_both_operating_points_and_what_is_withheld(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna, bundle = Person(clinic, "anna", Role.READER), clinic.bundle
    decided = " ".join(anna.get("/model").text.split())
    for phrase in ("18 of 20", "95 of 100", "18 of 23", "to reach sensitivity 0.9", bundle.digest, "rounds: 3"):
        assert phrase in decided, phrase
    assert "does not make this decision" not in decided
    calibration = replace(bundle.manifest.calibration, points=points(0.3, 0.4, Source.WITHHELD))
    monkeypatch.setattr(bundle, "manifest", replace(bundle.manifest, calibration=calibration))
    withheld = " ".join(anna.get("/model").text.split())
    assert "The model does not make this decision at this hospital: 3 diseased eyes are too few" in withheld
    assert "0.400 or more is still referred" in withheld
    anna.client.cookies.clear()
    assert anna.get("/model").status_code in (303, 401)


def test_after_another_model_is_adopted_the_page_says_so_and_uses_one_model(
    open_clinic, bundle_folder: Path, demonstration_folder: Path, photographs, tmp_path: Path
) -> None:
    champion = shutil.copytree(bundle_folder, tmp_path / "champion")
    clinic = open_clinic(champion)
    anna = Person(clinic, "anna", Role.READER)
    assert "holds another model now" not in anna.get("/model").text
    shutil.rmtree(champion)
    shutil.copytree(demonstration_folder, champion)
    (champion / GRAPH).write_bytes((champion / GRAPH).read_bytes() + b"of another model")
    page = anna.get("/model").text
    assert "holds another model now" in page
    assert clinic.bundle.digest in page
    with pytest.raises(ValueError, match=f"{GRAPH} is not as it was written"):
        clinic.receive(photographs.submitted())
