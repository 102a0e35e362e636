import numpy as np
import pytest
from numpy.typing import NDArray

from teledx_fed.core.examples import Example, Eye
from teledx_fed.evaluation.predictions import pool, predictions


class Unread:
    name = "unread"

    def digest(self) -> str:
        return "0"

    def read(self) -> NDArray[np.uint8]:
        raise AssertionError("evaluation reads no photograph")


def example(patient: str, grade: int, eye: Eye = Eye.LEFT, oedema: bool | None = None, source: str = "a") -> Example:
    return Example(Unread(), grade, patient, eye, oedema=oedema, source=source)


def test_images_of_one_eye_are_averaged_and_its_worst_label_counts() -> None:
    eyes = predictions(
        [example("p", 1), example("q", 0), example("p", 3), example("p", 0, Eye.RIGHT)],
        np.array([[0.2, 0.2, 0.2, 0.2, 0.2], [1, 0, 0, 0, 0], [0, 0, 0, 0.4, 0.6], [0.5, 0.5, 0, 0, 0]]),
    )
    assert eyes.grade.tolist() == [3, 0, 0]
    assert eyes.referable.tolist() == eyes.vision_threatening.tolist() == [True, False, False]
    assert eyes.probabilities is not None
    assert eyes.vision_threatening_score is not None
    np.testing.assert_allclose(eyes.probabilities[0], [0.1, 0.1, 0.1, 0.3, 0.4])
    np.testing.assert_allclose(eyes.referable_score, [0.8, 0, 0])
    np.testing.assert_allclose(eyes.vision_threatening_score, [0.7, 0, 0])
    assert eyes.patient.tolist() == [0, 1, 0]
    assert (eyes.eyes, eyes.patients) == (3, 2)


def test_an_image_of_an_unknown_eye_counts_by_itself_but_stays_with_its_patient() -> None:
    eyes = predictions([example("p", 2, Eye.UNKNOWN), example("p", 2, Eye.UNKNOWN)], np.array([0.1, 0.9]))
    assert eyes.referable_score.tolist() == [0.1, 0.9]
    assert eyes.patients == 1


def test_equal_pseudonyms_in_two_sources_are_two_patients() -> None:
    eyes = predictions([example("7", 0), example("7", 4, source="b")], np.array([0.1, 0.9]))
    assert eyes.grade.tolist() == [0, 4]
    assert eyes.patients == 2


def test_oedema_is_referable_and_vision_threatening_whatever_the_grade() -> None:
    eyes = predictions([example("p", 0, oedema=True)], np.array([[0.5, 0, 0.25, 0.25, 0]]), np.array([0.5]))
    assert eyes.referable.tolist() == eyes.vision_threatening.tolist() == [True]
    assert eyes.vision_threatening_score is not None
    np.testing.assert_allclose(eyes.referable_score, [1 - 0.5 * 0.5])
    np.testing.assert_allclose(eyes.vision_threatening_score, [1 - 0.75 * 0.5])


def test_a_head_with_one_output_has_no_grades() -> None:
    eyes = predictions([example("p", 2), example("p", 0, Eye.RIGHT)], np.array([0.7, 0.2]))
    assert eyes.probabilities is None
    assert eyes.vision_threatening_score is None
    assert eyes.referable_score.tolist() == [0.7, 0.2]


@pytest.mark.parametrize(
    ("probabilities", "oedema", "named"),
    [
        (np.full((1, 5), 0.2), None, "probabilities must have shape"),
        (np.full((2, 4), 0.25), None, "probabilities must have shape"),
        (np.full((2, 5), np.nan), None, "probabilities must lie in 0…1"),
        (np.full((2, 5), 0.2), np.array([0.5]), "oedema_probability must have shape"),
        (np.full(2, 0.2), np.full(2, 0.5), "oedema_probability must have shape"),
    ],
)
def test_predictions_of_a_wrong_shape_or_range_are_refused(
    probabilities: NDArray, oedema: NDArray | None, named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        predictions([example("p", 0), example("q", 1)], probabilities, oedema)


def test_pooled_sites_share_no_patient() -> None:
    site = predictions([example("p", 2), example("q", 0)], np.array([0.7, 0.2]))
    assert pool([site, site]).patient.tolist() == [0, 1, 2, 3]
