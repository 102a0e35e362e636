import numpy as np
import pydicom
import pytest
from dicom_files import (
    DEEP,
    GREY,
    JPEG,
    PLAIN,
    SMOOTH,
    compressed,
    photograph,
    shown,
    stacked,
)
from pydicom import uid

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")  # as the library sets it outside pytest


def test_jpeg_in_grey() -> None:
    image = shown(compressed(SMOOTH[..., 0], JPEG, "MONOCHROME2", quality=95))
    assert np.abs(image.astype(int) - stacked(SMOOTH[..., 0])).mean() < 3


@pytest.mark.parametrize("syntax", PLAIN)
def test_grey(syntax: uid.UID) -> None:
    np.testing.assert_array_equal(shown(photograph(GREY, "MONOCHROME2", syntax)), stacked(GREY))
    np.testing.assert_array_equal(shown(photograph(GREY, "MONOCHROME1", syntax)), stacked(255 - GREY))


@pytest.mark.parametrize("syntax", PLAIN)
def test_16_bits_over_their_full_range(syntax: uid.UID) -> None:
    dataset = photograph(DEEP, "MONOCHROME2", syntax, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(shown(dataset), stacked(np.rint(DEEP / 4095 * 255)))


def test_16_bits_below_zero() -> None:
    signed = (DEEP.astype(np.int16) - 2048).astype(np.int16)
    dataset = photograph(signed, "MONOCHROME2", BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(shown(dataset), stacked(np.rint(DEEP / 4095 * 255)))


@pytest.mark.parametrize(
    ("window", "black", "white"),
    [
        ({"WindowCenter": 2000, "WindowWidth": 1001}, 1499.5, 2499.5),
        ({"WindowCenter": 2000, "WindowWidth": 1000, "VOILUTFunction": "LINEAR_EXACT"}, 1500, 2500),
        ({"WindowCenter": [2000, 9], "WindowWidth": [1001, 9]}, 1499.5, 2499.5),
        ({"WindowCenter": 1000, "WindowWidth": 501, "RescaleSlope": 0.5, "RescaleIntercept": 100}, 1299, 2299),
    ],
)
def test_16_bits_in_a_window(window: dict[str, object], black: float, white: float) -> None:
    truth = 255 * np.clip((DEEP.astype(float) - black) / (white - black), 0, 1)[..., None]
    upright, inverted = (shown(photograph(DEEP, kind, **window)) for kind in ("MONOCHROME2", "MONOCHROME1"))
    assert np.abs(upright - truth).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(inverted, 255 - upright)


def test_a_window_equals_that_of_pydicom() -> None:
    dataset = photograph(DEEP, "MONOCHROME2", WindowCenter=1500, WindowWidth=1201)
    theirs = pydicom.pixels.apply_windowing(DEEP, dataset) / 65535 * 255
    assert np.abs(shown(dataset)[..., 0] - theirs).max() <= 0.5 + 1e-6
