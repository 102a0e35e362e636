"""The eye in a file's name, if all words agree, else the reason why it is unknown."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from teledx_fed.core.clinical import Gap
from teledx_fed.core.examples import Eye
from teledx_fed.data.eye_names import NamedEye, eye_in

LEFT, RIGHT = (
    ("left", "OS", "L", "l2", "Left", "2L", "leftEye"),
    ("right", "OD", "R", "r3", "R1M0", "R0", "RIGHT", "rightEye"),
)
FILLERS = ("77", "Smith", "IMG", "2024-05-01", "bright", "cleft", "patient 3", "DR", "Müller", "xr2d2x", "posterior")


@pytest.mark.parametrize(
    ("name", "eye"),
    [
        ("12_left.jpeg", Eye.LEFT),
        ("12_OD", Eye.RIGHT),
        ("R-2024.png", Eye.RIGHT),
        ("photo 7 os", Eye.LEFT),
        ("IMG_0012_L.JPG", Eye.LEFT),
        ("LeftEye001.dcm", Eye.LEFT),
        ("OD2", Eye.RIGHT),
        ("Smith_right_R1M0", Eye.RIGHT),
    ],
)
def test_a_name_whose_words_agree_gives_the_eye(name: str, eye: Eye) -> None:
    assert eye_in(name) == NamedEye(eye)


@pytest.mark.parametrize("name", ["bright_cleft", "20051020_0100_PP", "upright.jpg", "Rossi_11", "links", "", "örl"])
def test_a_name_without_a_word_for_an_eye_gives_none(name: str) -> None:
    assert eye_in(name) == NamedEye()


@pytest.mark.parametrize(
    ("name", "doubt"),
    [
        ("77_OS_R1M0.jpg", Gap.EYE_NAME_UNCLEAR),
        ("left_Smith_R.jpg", Gap.EYE_NAME_UNCLEAR),
        ("DR-left.R3.jpg", Gap.EYE_NAME_UNCLEAR),
        ("IMG_L_R0.jpg", Gap.EYE_NAME_UNCLEAR),
        ("right_eye_L.Miller.jpg", Gap.EYE_NAME_UNCLEAR),
        ("77_R1M0.jpg", Gap.EYE_NAME_UNCLEAR),
        ("12_R3.jpg", Gap.EYE_NAME_UNCLEAR),
        ("Smith_R.jpg", Gap.EYE_NAME_UNCLEAR),
        ("L_Miller.jpg", Gap.EYE_NAME_UNCLEAR),
        ("left_right", Gap.EYE_NAME_BOTH),
        ("OD-OS", Gap.EYE_NAME_BOTH),
        ("12_OU.jpg", Gap.EYE_NAME_BOTH),
        ("both eyes left.jpg", Gap.EYE_NAME_BOTH),
    ],
)
def test_an_ambiguous_name_gives_no_eye_and_the_reason(name: str, doubt: Gap) -> None:
    assert eye_in(name) == NamedEye(doubt=doubt)


words = st.lists(st.sampled_from(LEFT + RIGHT + FILLERS), min_size=1, max_size=6)


@settings(max_examples=60)
@given(words, st.sampled_from("_- .,"), st.sampled_from(["", ".jpg", ".PNG", ".dcm"]))
def test_no_name_gives_an_eye_against_one_of_its_words(parts: list[str], between: str, suffix: str) -> None:
    named = eye_in(between.join(parts) + suffix)
    sides = {Eye.LEFT: bool(set(parts) & set(LEFT)), Eye.RIGHT: bool(set(parts) & set(RIGHT))}
    if all(sides.values()):
        assert named.eye is Eye.UNKNOWN
        assert named.doubt in (Gap.EYE_NAME_BOTH, Gap.EYE_NAME_UNCLEAR)
    assert named.eye is Eye.UNKNOWN or sides[named.eye]
    assert named == NamedEye() or any(sides.values())


@settings(max_examples=30)
@given(st.text())
def test_any_name_can_be_read(name: str) -> None:
    named = eye_in(name)
    assert named.doubt is None or named.eye is Eye.UNKNOWN
