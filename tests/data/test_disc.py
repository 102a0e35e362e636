from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from teledx_fed.core.examples import Eye, Field
from teledx_fed.data.cameras import CAMERAS, CENTRE
from teledx_fed.data.disc import Disc, field_of, optic_disc, side_of
from teledx_fed.data.photographs import PhotographFile
from teledx_fed.data.synthetic import SyntheticPhotograph

UPRIGHT = Disc(0.6, -0.05, confidence=4.0, drop=0.1)


def synthetic(patient: int, eye: Eye, field: Field, camera: str = "topcon") -> SyntheticPhotograph:
    return SyntheticPhotograph(3, f"p{patient}", eye, field, grade=2, oedema=False, camera=camera)


def place(image: SyntheticPhotograph) -> complex:
    """Return the place of the disc, as x + iy in radii of the fundus from its centre."""
    eye = image._anatomy()
    return (complex(image._view(eye).pixels(np.array(eye.disc))) - CENTRE) / CAMERAS[image.camera].radius


@pytest.mark.parametrize("camera", CAMERAS)
@pytest.mark.parametrize("eye", [Eye.LEFT, Eye.RIGHT])
@pytest.mark.parametrize("field", [Field.MACULA, Field.DISC])
def test_the_disc_is_found_where_it_was_drawn(camera: str, eye: Eye, field: Field) -> None:
    image = synthetic(1, eye, field, camera)
    disc = optic_disc(image.read())
    assert disc is not None
    assert abs(complex(disc.x, disc.y) - place(image)) < 0.12
    assert field_of(disc) is field


def test_resizing_and_padding_do_not_move_the_disc() -> None:
    image = synthetic(2, Eye.RIGHT, Field.MACULA).read()
    framed = cv2.copyMakeBorder(cv2.resize(image, None, fx=3, fy=3), 10, 50, 200, 30, cv2.BORDER_CONSTANT)
    before, after = optic_disc(image), optic_disc(framed)
    assert before is not None
    assert after is not None
    assert (after.x, after.y) == pytest.approx((before.x, before.y), abs=0.05)


def test_a_mirrored_photograph_has_its_disc_on_the_other_side() -> None:
    image = synthetic(2, Eye.RIGHT, Field.MACULA).read()
    before, after = optic_disc(image), optic_disc(image[:, ::-1].copy())
    assert before is not None
    assert after is not None
    assert after.x == pytest.approx(-before.x, abs=0.05)


def test_the_right_eye_has_its_disc_on_the_viewers_right() -> None:
    assert side_of(UPRIGHT) is Eye.RIGHT
    assert side_of(replace(UPRIGHT, x=-0.6)) is Eye.LEFT


@pytest.mark.parametrize(
    "disc",
    [
        None,
        replace(UPRIGHT, drop=None),
        replace(UPRIGHT, drop=-0.1),
        replace(UPRIGHT, confidence=0.5),
        replace(UPRIGHT, x=0.1, y=0.0),
        replace(UPRIGHT, y=0.8),
    ],
    ids=["no disc", "no fovea", "turned by 180°", "not sure", "disc-centred", "far from the midline"],
)
def test_an_uncertain_disc_gives_no_eye(disc: Disc | None) -> None:
    assert side_of(disc) is Eye.UNKNOWN


def test_an_uncertain_disc_gives_no_field() -> None:
    assert field_of(None) is Field.UNKNOWN
    assert field_of(replace(UPRIGHT, confidence=0.5)) is Field.UNKNOWN
    assert field_of(Disc(0.05, 0.1, confidence=4.0)) is Field.DISC


NOTHING: dict[str, Callable[[], np.ndarray]] = {
    "card": lambda: np.full((300, 400, 3), 120, np.uint8),
    "dot": lambda: np.full((1, 1, 3), 200, np.uint8),
    "sliver": lambda: np.full((3, 3000, 3), 200, np.uint8),
}


@pytest.mark.parametrize("name", NOTHING)
def test_an_image_without_a_disc_has_none(name: str) -> None:
    assert optic_disc(NOTHING[name]()) is None


def test_a_black_photograph_is_refused() -> None:
    with pytest.raises(ValueError, match="photograph must show a fundus"):
        optic_disc(np.zeros((100, 100, 3), np.uint8))


sides = st.integers(1, 40)


@settings(deadline=None, max_examples=40)
@given(
    st.tuples(sides, sides, st.just(3)).flatmap(lambda shape: arrays(np.uint8, shape, elements=st.integers(20, 255)))
)
def test_any_array_can_be_searched(image: np.ndarray) -> None:
    disc = optic_disc(image)
    assert side_of(disc) in Eye
    assert field_of(disc) in Field
    if disc is not None:
        assert max(abs(disc.x), abs(disc.y)) <= 1
        assert np.isfinite(disc.confidence)


@pytest.mark.slow
def test_the_eye_of_real_photographs_is_hardly_ever_contradicted(real_data: Path) -> None:
    """A third of EyePACS is turned by 180°: there the side of the disc alone would be wrong."""
    some = sorted((real_data / "eyepacs" / "train").iterdir())[::3]
    eyes = [(path.stem.endswith("right"), side_of(optic_disc(PhotographFile(path).read()))) for path in some]
    named = [(is_right, side) for is_right, side in eyes if side is not Eye.UNKNOWN]
    assert len(named) > 0.2 * len(some)
    assert sum((side is Eye.RIGHT) != is_right for is_right, side in named) <= 0.03 * len(named)
