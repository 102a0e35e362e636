import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from teledx_fed.core.examples import Eye, Field
from teledx_fed.data.maps import edges, in_square, lit, on_photograph, resized, widened, without_detail
from teledx_fed.data.preprocessing import place, prepare
from teledx_fed.data.synthetic import SyntheticPhotograph

SIZE = 128


def photograph(grade: int) -> SyntheticPhotograph:
    return SyntheticPhotograph(3, "maps-0000", Eye.RIGHT, Field.MACULA, grade, False, "canon")


def prepared(grade: int) -> NDArray[np.uint8]:
    return prepare(photograph(grade).read(), SIZE)


def test_a_finer_map_stays_at_or_above_its_lowest_value_and_keeps_its_highest_place() -> None:
    heat = np.zeros((7, 7), np.float32)
    heat[2, 5] = 1
    finer = resized(heat, 224)
    assert finer.min() == 0
    assert np.unravel_index(finer.argmax(), finer.shape) == pytest.approx((2.5 * 32, 5.5 * 32), abs=1)
    np.testing.assert_allclose(resized(finer, 7).argmax(), heat.argmax())


def test_a_mask_goes_into_the_prepared_square_with_its_photograph() -> None:
    """A patch, drawn on the photograph and in its mask, lies on the same prepared pixels."""
    image = photograph(0).read()
    patch = cv2.circle(np.zeros(image.shape[:2], np.uint8), (250, 140), 20, 1, -1).astype(bool)
    image[patch] = (60, 60, 255)
    blue = prepare(image, SIZE)[..., 2] > 200
    masked = in_square(patch, place(image), SIZE)
    assert blue.sum() > 50
    assert (masked & blue).sum() == blue.sum()
    assert not (masked & ~widened(blue, 2)).any()


def test_a_map_covers_its_square_alone() -> None:
    image = np.zeros((300, 500, 3), np.uint8)
    cv2.circle(image, (320, 150), 90, (170, 90, 40), -1)
    square = place(image)
    whole = on_photograph(np.ones((7, 7), np.float32), square)
    assert whole.shape == (300, 500)
    assert cv2.boundingRect((whole > 0).astype(np.uint8)) == (square.left, square.top, square.side, square.side)
    assert square.side == pytest.approx(181, abs=4)


def test_without_detail_diseased_eyes_look_healthy_and_keep_their_disc() -> None:
    ill, healthy = prepared(4), prepared(0)
    blurred = without_detail(ill)
    np.testing.assert_array_equal(lit(blurred), lit(ill))
    assert blurred[lit(ill)].mean() == pytest.approx(ill[lit(ill)].mean(), rel=0.05)
    inside = ~widened(~lit(ill), 8)
    assert edges(blurred)[inside].max() < 0.3 * edges(healthy)[inside].max()


def test_edges_are_where_brightness_changes() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[:, 16:] = 100
    assert set(edges(image).argmax(axis=1)) <= {15, 16}
    assert edges(np.full_like(image, 90)).max() == 0
