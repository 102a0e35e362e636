from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from teledx_fed.config.data import HospitalSettings
from teledx_fed.core.examples import GRADES, Eye, Field
from teledx_fed.data.cameras import CAMERAS, CENTRE, DISC_DIAMETER, SIZE
from teledx_fed.data.lesions import (
    DEFINING,
    HAEMORRHAGES_A_QUADRANT,
    LESIONS,
    OF_THE_EYE,
    OF_THE_PHOTOGRAPH,
    TABLE,
    Finding,
    FindingKind,
)
from teledx_fed.data.synthetic import DRAWING_VERSION, SyntheticPhotograph, hospital

PHOTOGRAPH = SyntheticPhotograph(0, "north-0000", Eye.RIGHT, Field.MACULA, 3, True, "canon")


def pixels(photograph: SyntheticPhotograph) -> bytes:
    return photograph.read().tobytes()


def eyes(grade: int, count: int = 40) -> list[tuple[SyntheticPhotograph, Counter[FindingKind]]]:
    """Return macula-centred photographs by every camera, with the number of lesions of each kind."""
    cameras = list(CAMERAS)
    photographs = [
        SyntheticPhotograph(1, f"eyes-{i:04d}", Eye.LEFT, Field.MACULA, grade, False, cameras[i % len(cameras)])
        for i in range(count)
    ]
    return [(photograph, Counter(lesion.kind for lesion in photograph.lesions())) for photograph in photographs]


def test_a_photograph_is_the_same_in_threads() -> None:
    others = [replace(PHOTOGRAPH, patient=f"north-{i:04d}") for i in range(4)]
    drawn = [pixels(photograph) for photograph in others]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(pixels, reversed(others))) == drawn[::-1]
    assert len(set(drawn)) == 4


@pytest.mark.slow
def test_a_photograph_is_the_same_in_another_process() -> None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        assert process.submit(PHOTOGRAPH.read).result().tobytes() == pixels(PHOTOGRAPH)


def test_the_drawing_version_fixes_the_pixels() -> None:
    """If this fails, the drawing has changed: increase DRAWING_VERSION, and write the new means here."""
    means = {2: (81.444, 41.133, 16.204)}
    cameras = [*CAMERAS, "canon"]
    photographs = [replace(PHOTOGRAPH, grade=grade, camera=cameras[grade], oedema=False) for grade in range(GRADES)]
    measured = np.mean([photograph.read() for photograph in photographs], axis=(0, 1, 2))
    assert measured == pytest.approx(means[DRAWING_VERSION], abs=0.02)


def test_drawing_does_not_use_the_global_generator() -> None:
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    hospital("north", HospitalSettings(patients=2), seed=0).examples[0].image.read()
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_a_photograph_does_not_depend_on_how_many_others_are_drawn() -> None:
    few, many = (hospital("north", HospitalSettings(patients=n), seed=0).examples for n in (10, 40))
    assert {example.image for example in few} & {example.image for example in many}
    alone = pixels(PHOTOGRAPH)
    for example in few[:3]:
        example.image.read()
    assert pixels(PHOTOGRAPH) == alone


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"patient": "x"}, {"eye": Eye.LEFT}, {"field": Field.DISC}, {"grade": 1}, {"camera": "zeiss"}],
    ids=str,
)
def test_another_specification_is_another_photograph(change: dict[str, object]) -> None:
    other = replace(PHOTOGRAPH, **change)
    assert other.digest() != PHOTOGRAPH.digest()
    assert pixels(other) != pixels(PHOTOGRAPH)


def test_a_photograph_is_round_and_surrounded_by_black() -> None:
    image = PHOTOGRAPH.read()
    assert image.shape == (SIZE, SIZE, 3)
    assert image.dtype == np.uint8
    assert not image[:10, :10].any()
    assert image[SIZE // 2, SIZE // 2, 0] > image[SIZE // 2, SIZE // 2, 2] > 0


@pytest.mark.parametrize("grade", range(GRADES))
def test_counts_obey_the_table(grade: int) -> None:
    for photograph, counts in eyes(grade):
        for kind in LESIONS:
            share, low, high = TABLE[kind].grades.get(grade, (0, 0, 0))
            if kind is FindingKind.HAEMORRHAGE and grade == 3:
                high = 4 * HAEMORRHAGES_A_QUADRANT[1]
            assert low <= counts[kind] <= high or (share < 1 and counts[kind] == 0), (photograph.name, kind)


def quadrants(findings: list[Finding], photograph: SyntheticPhotograph) -> Counter[tuple[bool, bool]]:
    eye = photograph._anatomy()
    view = photograph._view(eye)
    places = view.fundus(np.array([finding.centre for finding in findings], dtype=complex))
    return Counter((bool(place.real > 0), bool(place.imag > 0)) for place in places)


def meets_4_2_1(photograph: SyntheticPhotograph) -> bool:
    lesions = photograph.lesions()
    kinds = {kind: quadrants([f for f in lesions if f.kind is kind], photograph) for kind in DEFINING[3]}
    four = len(kinds[FindingKind.HAEMORRHAGE]) == 4 and min(kinds[FindingKind.HAEMORRHAGE].values()) > 20
    return four or len(kinds[FindingKind.VENOUS_BEADING]) >= 2 or len(kinds[FindingKind.IRMA]) >= 1


@pytest.mark.slow
def test_grade_3_meets_the_4_2_1_rule_and_lower_grades_do_not() -> None:
    assert all(meets_4_2_1(photograph) for photograph, _ in eyes(3))
    assert not any(meets_4_2_1(photograph) for photograph, _ in eyes(2))


def test_grade_4_has_new_vessels_or_preretinal_blood_and_lower_grades_do_not() -> None:
    assert all(any(counts[kind] for kind in DEFINING[4]) for _, counts in eyes(4))
    assert not any(counts[kind] for grade in range(4) for _, counts in eyes(grade) for kind in DEFINING[4])


@pytest.mark.parametrize("kind", [*OF_THE_EYE, *OF_THE_PHOTOGRAPH])
def test_distractors_are_as_common_in_every_grade(kind: FindingKind) -> None:
    assert len({TABLE[kind].grades[grade] for grade in range(GRADES)}) == 1


@pytest.mark.parametrize("field", [Field.MACULA, Field.DISC])
@pytest.mark.parametrize("camera", CAMERAS)
def test_lesions_lie_in_the_disc_of_view(camera: str, field: Field) -> None:
    for number in range(5):
        photograph = replace(PHOTOGRAPH, camera=camera, field=field, patient=f"view-{number}", grade=3 + number % 2)
        image = photograph.read()
        assert photograph.lesions()
        for lesion in photograph.lesions():
            assert abs(lesion.centre - CENTRE) <= CAMERAS[camera].radius
            row, column = round(lesion.centre.imag), round(lesion.centre.real)
            assert image[row - 2 : row + 3, column - 2 : column + 3].any(), "black: outside the disc"


def test_the_pixels_show_each_lesion_at_its_listed_place() -> None:
    """At each haemorrhage the image has less green than that of the same eye with grade 0."""
    ill = replace(PHOTOGRAPH, grade=2, oedema=False)
    change = ill.read()[..., 1].astype(float) - replace(ill, grade=0).read()[..., 1]
    rows, columns = np.mgrid[:SIZE, :SIZE]
    haemorrhages = [lesion for lesion in ill.lesions() if lesion.kind is FindingKind.HAEMORRHAGE]
    assert haemorrhages
    for lesion in haemorrhages:
        inside = np.abs(columns + 1j * rows - lesion.centre) < 0.6 * lesion.radius
        assert change[inside].mean() < -4


@pytest.mark.slow
@pytest.mark.parametrize("grade", [1, 2, 3, 4])
def test_the_lesion_mask_holds_every_lesion_and_little_else(grade: int) -> None:
    for photograph, counts in eyes(grade, 12):
        mask = photograph.lesion_mask()
        assert mask.shape == (SIZE, SIZE)
        for lesion in photograph.lesions():
            row, column = round(lesion.centre.imag), round(lesion.centre.real)
            assert mask[row - 1 : row + 2, column - 1 : column + 2].any() or lesion.kind is FindingKind.VENOUS_BEADING
        areas = sum(np.pi * (lesion.radius + 2) ** 2 for lesion in photograph.lesions())
        assert 0 < mask.sum() <= areas, counts


def test_pixels_outside_the_lesion_mask_equal_those_of_a_healthy_eye() -> None:
    ill = replace(PHOTOGRAPH, grade=2, oedema=False)
    change = np.abs(ill.read()[..., 1].astype(float) - replace(ill, grade=0).read()[..., 1])
    beyond = ~cv2.dilate(ill.lesion_mask().astype(np.uint8), np.ones((15, 15))).astype(bool)
    assert change[ill.lesion_mask()].mean() > 10 * change[beyond].mean()
    assert not replace(ill, grade=0).lesion_mask().any()


@pytest.mark.parametrize("oedema", [True, False])
def test_oedema_is_exudates_within_a_disc_diameter_of_the_fovea(oedema: bool) -> None:
    for number in range(20):
        photograph = replace(PHOTOGRAPH, oedema=oedema, patient=f"macula-{number}")
        view = photograph._view(photograph._anatomy())
        exudates = [lesion.centre for lesion in photograph.lesions() if lesion.kind is FindingKind.HARD_EXUDATE]
        assert (np.abs(view.fundus(np.array(exudates, dtype=complex))) < 1).any() == oedema


def disc_side(image: NDArray[np.uint8]) -> str:
    """Return the side of the pale disc: its green is the brightest, after averaging of noise and small spots."""
    coarse = image[..., 1].reshape(32, SIZE // 32, 32, SIZE // 32).mean(axis=(1, 3))
    return "right" if coarse[10:22].max(axis=0).argmax() >= 16 else "left"


@pytest.mark.parametrize("eye", [Eye.RIGHT, Eye.LEFT])
def test_the_disc_lies_towards_the_nose(eye: Eye) -> None:
    sides = [
        disc_side(replace(PHOTOGRAPH, eye=eye, grade=0, oedema=False, camera="topcon", patient=f"p{i}").read())
        for i in range(12)
    ]
    assert sides.count(eye) >= 10


def test_lesions_have_the_sizes_of_the_table() -> None:
    pixel = CAMERAS["topcon"].reach * DISC_DIAMETER / CAMERAS["topcon"].radius
    for lesion in replace(PHOTOGRAPH, camera="topcon").lesions():
        low, high = TABLE[lesion.kind].diameter
        assert low - 1 <= 2 * lesion.radius * pixel <= high + 1
