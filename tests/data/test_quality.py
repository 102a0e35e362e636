import math
from collections.abc import Callable

import cv2
import numpy as np
import pytest

from teledx_fed.data.quality import Quality, quality
from teledx_fed.data.synthetic import hospital
from teledx_fed.settings import HospitalSettings

Spoil = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    (example, *_) = hospital("north", HospitalSettings(1, "canon"), seed=0).examples
    return example.image.read()


def spoilt(photograph: np.ndarray, spoil: Spoil) -> tuple[Quality, Quality]:
    return quality(photograph), quality(np.clip(spoil(photograph.astype(np.float32)), 0, 255).astype(np.uint8))


def test_a_whole_disc_fills_a_circle() -> None:
    whole = cv2.circle(np.zeros((300, 400, 3), np.uint8), (200, 150), 120, (90, 60, 30), -1)
    assert quality(whole).field == pytest.approx(math.pi / 4, abs=0.02)


def test_a_cut_disc_fills_less(photograph: np.ndarray) -> None:
    height = len(photograph)
    assert quality(photograph[height // 3 :]).field < quality(photograph).field - 0.05


def test_underexposure_shows(photograph: np.ndarray) -> None:
    before, after = spoilt(photograph, lambda image: image / 3)
    assert after.exposure == pytest.approx(before.exposure / 3, rel=0.1)
    assert after.contrast == pytest.approx(before.contrast, rel=0.15)


def test_overexposure_leaves_pixels_without_detail(photograph: np.ndarray) -> None:
    before, after = spoilt(photograph, lambda image: image * 6)
    assert before.clipped < 0.05 < 0.5 < after.clipped


def test_blur_takes_sharpness_and_leaves_exposure(photograph: np.ndarray) -> None:
    before, after = spoilt(photograph, lambda image: cv2.GaussianBlur(image, (0, 0), 4))
    assert after.sharpness < before.sharpness / 2
    assert after.exposure == pytest.approx(before.exposure, rel=0.05)


def test_a_veil_takes_contrast(photograph: np.ndarray) -> None:
    before, after = spoilt(
        photograph, lambda image: np.where(image.max(axis=2, keepdims=True) > 30, image / 3 + 80, image)
    )
    assert after.contrast < before.contrast


def test_size_is_not_quality(photograph: np.ndarray) -> None:
    larger = cv2.resize(photograph, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    before, after = quality(photograph), quality(larger)
    assert (after.exposure, after.contrast) == pytest.approx((before.exposure, before.contrast), rel=0.05)
    assert after.sharpness == pytest.approx(before.sharpness, rel=0.4)


def test_what_is_no_fundus_is_refused() -> None:
    with pytest.raises(ValueError, match="photograph must show a fundus"):
        quality(np.zeros((100, 100, 3), np.uint8))
