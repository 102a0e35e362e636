import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.datasets import load_sample_image

from teledx_fed.config.data import HospitalSettings
from teledx_fed.core.clinical import Fault
from teledx_fed.data.cameras import CAMERAS
from teledx_fed.data.photographs import PhotographFile
from teledx_fed.data.quality import Quality, QualityLimits, faults, quality
from teledx_fed.data.synthetic import hospital

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


def test_underexposure_is_measured(photograph: np.ndarray) -> None:
    before, after = spoilt(photograph, lambda image: image / 3)
    assert after.exposure == pytest.approx(before.exposure / 3, rel=0.1)
    assert after.contrast == pytest.approx(before.contrast, rel=0.15)


def test_overexposure_leaves_pixels_without_detail(photograph: np.ndarray) -> None:
    before, after = spoilt(photograph, lambda image: image * 6)
    assert before.clipped < 0.05 < 0.5 < after.clipped


def test_blur_lowers_sharpness_and_not_exposure(photograph: np.ndarray) -> None:
    before, after = spoilt(photograph, lambda image: cv2.GaussianBlur(image, (0, 0), 4))
    assert after.sharpness < before.sharpness / 2
    assert after.exposure == pytest.approx(before.exposure, rel=0.05)


def test_haze_lowers_contrast(photograph: np.ndarray) -> None:
    before, after = spoilt(
        photograph, lambda image: np.where(image.max(axis=2, keepdims=True) > 30, image / 3 + 80, image)
    )
    assert after.contrast < before.contrast


def test_quality_does_not_depend_on_the_size(photograph: np.ndarray) -> None:
    larger = cv2.resize(photograph, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    before, after = quality(photograph), quality(larger)
    assert (after.exposure, after.contrast) == pytest.approx((before.exposure, before.contrast), rel=0.05)
    assert after.sharpness == pytest.approx(before.sharpness, rel=0.4)


def test_an_image_without_a_fundus_is_refused() -> None:
    with pytest.raises(ValueError, match="photograph must show a fundus"):
        quality(np.zeros((100, 100, 3), np.uint8))


def gradable(camera: str) -> np.ndarray:
    (example, *_) = hospital("south", HospitalSettings(1, camera), seed=1).examples
    return example.image.read()


def spoilt_faults(photograph: np.ndarray, spoil: Spoil) -> tuple[Fault, ...]:
    return faults(np.clip(spoil(photograph.astype(np.float32)), 0, 255).astype(np.uint8))


def in_the_disc(photograph: np.ndarray, spoil: Spoil) -> np.ndarray:
    return np.where(photograph.max(axis=2, keepdims=True) > 30, spoil(photograph), photograph)


@pytest.mark.parametrize("camera", CAMERAS)
def test_a_good_photograph_has_no_fault(camera: str) -> None:
    assert faults(gradable(camera)) == ()


@pytest.mark.parametrize("scale", [0.6, 2.5, 8.0])
def test_a_good_photograph_of_any_size_has_no_fault(scale: float) -> None:
    assert faults(cv2.resize(gradable("topcon"), None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)) == ()


SPOILS: dict[Fault, Spoil] = {
    Fault.TOO_DARK: lambda image: image / 8,
    Fault.TOO_BRIGHT: lambda image: in_the_disc(image, lambda it: it * 8),
    Fault.LOW_CONTRAST: lambda image: in_the_disc(image, lambda it: it / 20 + np.float32([140, 90, 60])),
    Fault.BLURRED: lambda image: cv2.GaussianBlur(image, (0, 0), 6),
    Fault.FIELD_CUT: lambda image: image[:, len(image) // 2 :],
}


@pytest.mark.parametrize("fault", SPOILS)
def test_a_degraded_photograph_has_the_matching_fault(photograph: np.ndarray, fault: Fault) -> None:
    assert fault in spoilt_faults(photograph, SPOILS[fault])


def test_slightly_less_light_is_not_a_fault(photograph: np.ndarray) -> None:
    assert spoilt_faults(photograph, lambda image: 0.8 * image) == ()


EYES = {camera: gradable(camera) for camera in ("canon", "handheld")}
DARK = {Fault.TOO_DARK, Fault.NOT_A_FUNDUS}


@settings(deadline=None, max_examples=25)
@given(st.sampled_from(sorted(EYES)), st.floats(0, 1))
def test_an_eye_that_is_dark_beyond_recognition_is_never_graded(camera: str, factor: float) -> None:
    """An eye is too dark below a mean of 45 of 255 in its brightest channel, in any colour."""
    darker = (EYES[camera] * factor).astype(np.uint8)
    disc = EYES[camera].max(axis=2) > 30
    if darker.max(axis=2)[disc].mean() < 40:
        assert DARK & set(faults(darker))


def test_a_partly_dark_eye_is_too_dark(photograph: np.ndarray) -> None:
    for side in ("left", "right"):
        dark = photograph.copy()
        half = dark.shape[1] // 2
        dark[:, slice(half) if side == "left" else slice(half, None)] //= 10
        assert Fault.TOO_DARK in faults(dark)


def test_the_limits_decide_the_faults(photograph: np.ndarray) -> None:
    assert faults(photograph, replace(QualityLimits(), sharpness=(10.0, 20.0))) == (Fault.BLURRED,)
    assert faults(photograph, replace(QualityLimits(), exposure=(0.9, 1.0))) == (Fault.TOO_DARK,)


def card(*colour: int) -> np.ndarray:
    return np.tile(np.array(colour, np.uint8), (300, 400, 1))


OTHERS: dict[str, Callable[[], np.ndarray]] = {
    "buildings": lambda: load_sample_image("china.jpg"),
    "flower": lambda: load_sample_image("flower.jpg"),
    "black frame": lambda: card(0, 0, 0),
    "grey card": lambda: card(128, 128, 128),
    "orange card": lambda: card(180, 90, 40),
    "noise": lambda: np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8),
    "noise through a tube": lambda: np.where(
        cv2.circle(card(0, 0, 0), (200, 150), 140, (1, 1, 1), -1) > 0, OTHERS["noise"](), card(0, 0, 0)
    ),
    "page": lambda: cv2.putText(card(250, 250, 250), "Report", (20, 150), 0, 3, (0, 0, 0), 4),
    "moon": lambda: cv2.circle(card(0, 0, 0), (200, 150), 120, (200, 200, 200), -1),
    "sky through a tube": lambda: cv2.circle(card(0, 0, 0), (200, 150), 120, (90, 140, 220), -1),
}


@pytest.mark.parametrize("name", OTHERS)
def test_pictures_of_other_things_are_not_a_fundus(name: str) -> None:
    assert faults(OTHERS[name]()) == (Fault.NOT_A_FUNDUS,)


def test_a_disc_without_vessels_cannot_be_graded() -> None:
    assert faults(cv2.circle(card(0, 0, 0), (200, 150), 120, (180, 90, 40), -1)) != ()


def test_a_monochrome_fundus_is_out_of_scope(photograph: np.ndarray) -> None:
    assert faults(np.repeat(photograph[..., 1:2], 3, axis=2)) == (Fault.NOT_A_FUNDUS,)


sides = st.integers(1, 40)


@settings(deadline=None, max_examples=60)
@given(st.tuples(sides, sides, st.just(3)).flatmap(lambda shape: arrays(np.uint8, shape)))
def test_any_array_gets_a_decision(image: np.ndarray) -> None:
    decision = faults(image)
    assert isinstance(decision, tuple)
    assert all(isinstance(fault, Fault) for fault in decision)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 3000), (3000, 7)])
@pytest.mark.parametrize("level", [0, 100, 255])
def test_very_narrow_images_are_not_a_fundus(shape: tuple[int, int], level: int) -> None:
    assert faults(np.full((*shape, 3), level, np.uint8)) == (Fault.NOT_A_FUNDUS,)


@pytest.mark.slow
@pytest.mark.parametrize(
    "folder", ["aptos2019/train_images", "eyepacs/train", "messidor2_a/IMAGES", "messidor2_b/IMAGES"]
)
def test_graded_photographs_pass(real_data: Path, folder: str) -> None:
    some = sorted((real_data / folder).iterdir())[::6][:150]
    refused = [path.name for path in some if faults(PhotographFile(path).read())]
    assert len(refused) <= 0.05 * len(some), refused


@pytest.mark.parametrize("name", ["551_right", "551_left", "940_left", "1133_left", "314_left", "1051_right"])
def test_real_eyes_that_are_near_black_are_too_dark(real_data: Path, name: str) -> None:
    assert Fault.TOO_DARK in faults(PhotographFile(real_data / "eyepacs" / "train" / f"{name}.jpeg").read())
