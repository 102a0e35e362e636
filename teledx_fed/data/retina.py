"""The fundus of a photograph at one scale, and its vessels, for the quality gate and the search for the optic disc."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.errors import DataError
from teledx_fed.data.preprocessing import fundus_mask

SIDE = 256
"""Side of the square around the fundus, in pixels; a vessel of the first order is three or four wide."""
LARGE = 1024
"""Pixels; a photograph twice as long is shrunk first, for speed."""
RIM = 6
"""Pixels at the rim that are left out, where the fundus fades into the border."""
BACKGROUND = 16.0
VESSEL = 1.7
"""Standard deviations of the Gaussian filters for the background and for a vessel, in pixels."""

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Retina:
    """The fundus in the middle of `pixels`, SIDE × SIDE × 3, RGB; `inside` is its mask.

    `photograph` is at most 2 · LARGE pixels long, and `mask` is the mask of its fundus.
    """

    pixels: Floats
    inside: Mask
    photograph: NDArray[np.uint8]
    mask: NDArray[np.uint8]

    def inner(self, distance: float) -> Mask:
        """Return the mask of pixels further than `distance` from the rim."""
        framed = np.pad(self.inside.astype(np.uint8), 1)
        inner: Mask = cv2.distanceTransform(framed, cv2.DIST_L2, 3)[1:-1, 1:-1] > distance
        return inner


@dataclass(frozen=True)
class Ridges:
    """Darkness and brightness of lines at each pixel, relative to the background, and their direction.

    `heading` is the angle along the line from the horizontal, 0 to π.
    """

    dark: Floats
    bright: Floats
    heading: Floats


def retina_of(image: NDArray[np.uint8]) -> Retina:
    """Scale a photograph, height × width × 3, RGB. Raise a `DataError` where it is dark all over."""
    image = _shrunk(image)
    mask = fundus_mask(image)
    x, y, width, height = cv2.boundingRect(mask)
    window = np.s_[y : y + height, x : x + width]
    scale = SIDE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    pixels = _squared(cv2.resize(image[window], size, interpolation=smooth))
    inside = _squared(cv2.resize(mask[window], size, interpolation=cv2.INTER_AREA)) > 127
    return Retina(pixels.astype(np.float32), inside, image, mask)


def find_retina(image: NDArray[np.uint8]) -> Retina | None:
    """Scale a photograph as `retina_of` does; None where it is dark all over."""
    try:
        return retina_of(image)
    except DataError:
        return None


def smoothed(channel: Floats, inside: Mask, sigma: float) -> Floats:
    """Return the Gaussian average over the pixels inside only, so that the border has no influence."""
    weight = inside.astype(np.float32)
    total = cv2.GaussianBlur(channel * weight, (0, 0), sigma)
    return np.asarray(total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3), dtype=np.float32)


def ridges(channel: Floats, inside: Mask) -> Ridges:
    """Detect lines as wide as a vessel, by eigenvalues of the Hessian (Frangi 1998); blobs and edges count little."""
    level = np.maximum(smoothed(channel, inside, BACKGROUND), 4)
    relief = smoothed(channel, inside, VESSEL) / level
    xx, yy, xy = (
        cv2.Sobel(relief, cv2.CV_32F, *order, ksize=3) * (VESSEL**2 / 4) for order in ((2, 0), (0, 2), (1, 1))
    )
    mean, spread = (xx + yy) / 2, np.hypot((xx - yy) / 2, xy)
    high, low = mean + spread, mean - spread
    dark = np.maximum(high - 1.5 * np.abs(low), 0) * inside
    bright = np.maximum(-low - 1.5 * np.abs(high), 0) * inside
    heading = (np.arctan2(2 * xy, xx - yy) / 2 + np.pi / 2) % np.pi
    return Ridges(dark, bright, heading)


def _shrunk(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Shrink a photograph by a whole number, which is fast."""
    step = max(1, max(image.shape) // LARGE)
    height, width = (side // step for side in image.shape[:2])
    if step == 1 or min(height, width) == 0:
        return image
    cut = image[: height * step, : width * step]
    return np.asarray(cv2.resize(cut, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _squared(image: NDArray[np.generic]) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    margins = ((top, SIDE - height - top), (left, SIDE - width - left), *[(0, 0)] * (image.ndim - 2))
    return np.asarray(np.pad(image, margins), dtype=np.uint8)
