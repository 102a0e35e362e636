"""Prepare a photograph: from the camera's file to the square that is the network's input."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Photograph
from teledx_fed.data.photographs import PhotographFile

Image = NDArray[np.uint8]

DARK = 16
"""A pixel is dark if its grey level (0…255) is at most this."""


@dataclass(frozen=True)
class Fundus:
    """The part of a photograph in the box around its fundus disc.

    `pixels` is height × width × 3, RGB. `mask` is height × width, 255 in the disc and 0 outside.
    """

    pixels: Image
    mask: Image

    @property
    def side(self) -> int:
        return max(self.mask.shape)


@dataclass(frozen=True)
class Place:
    """Where the prepared square lies, in pixels of the photograph. It may extend beyond the photograph.

    `mask` is the `fundus_mask` of the whole photograph.
    """

    left: int
    top: int
    side: int
    mask: Image


def prepare_photograph(
    photograph: Photograph, size: int, ben_graham: bool = False, clahe: bool = False, pixels: Image | None = None
) -> Image:
    """Prepare a photograph as `prepare` does. `pixels` are the whole photograph, if already decoded.

    A JPEG file is decoded at a fraction of its size if its disc is then still at least twice as wide as `size`.
    """
    if isinstance(photograph, PhotographFile):
        reduced = photograph.reduced(2 * size)
        if reduced is not None and (fundus := _fundus(reduced)).side >= 2 * size:
            return _square_of(fundus, size, ben_graham, clahe)
    return prepare(photograph.read() if pixels is None else pixels, size, ben_graham, clahe)


def prepare(image: Image, size: int, ben_graham: bool = False, clahe: bool = False) -> Image:
    """Cut out the fundus disc of a height × width × 3 RGB photograph: size × size × 3, black outside the disc."""
    return _square_of(_fundus(image), size, ben_graham, clahe)


def steps(size: int, ben_graham: bool = False, clahe: bool = False) -> tuple[str, ...]:
    """Describe the steps of `prepare` in words and numbers, for another implementation."""
    lightness = "Equalise the lightness: CLAHE on L of CIE Lab, clip limit 2, 8 × 8 tiles."
    average = (
        "Replace each pixel p by 128 + 4 · (p − a), cut to 0…255; a is the Gaussian average over the disc alone, "
        f"σ = {size / 60:.4g}."
    )
    return (
        "Take the photograph as RGB, 8 bits, rows from the top.",
        "Shrink a copy to a longest side of 256 pixels (area interpolation; never enlarge). Its brightness is the "
        "largest of the three channels, median-filtered 5 × 5.",
        f"Let d be the 1st and b the 99th percentile of brightness, and o = min(d, {DARK}). Pixels of at least "
        "o + 0.06 · (b − o) are bright. Find the largest 8-connected region of bright pixels, measured by the area "
        "within its outline. The disc is its filled convex hull, resized to the photograph by nearest neighbour.",
        "Cut photograph and disc to the disc's bounding box. Pad both with black to a square, half of the padding "
        "(rounded down) at the top or left.",
        f"Resize both to {size} × {size}: area interpolation if the square is larger, otherwise bicubic.",
        *([lightness] if clahe else []),
        *([average] if ben_graham else []),
        "Set pixels to black where the resized disc (255 inside, 0 outside) is at most 127.",
    )


def place(image: Image) -> Place:
    """Locate `prepare`'s square on a photograph, height × width × 3. Raise a `DataError` if no fundus is visible."""
    mask = fundus_mask(image)
    x, y, width, height = cv2.boundingRect(mask)
    side = max(height, width)
    return Place(x - (side - width) // 2, y - (side - height) // 2, side, mask)


def _fundus(image: Image) -> Fundus:
    mask = fundus_mask(image)
    x, y, width, height = cv2.boundingRect(mask)
    window = np.s_[y : y + height, x : x + width]
    return Fundus(image[window], mask[window])


def _square_of(fundus: Fundus, size: int, ben_graham: bool, clahe: bool) -> Image:
    square, disc = (_resize(_square(part), size) for part in (fundus.pixels, fundus.mask))
    inside = disc > 127
    if clahe:
        square = equalise(square)
    if ben_graham:
        square = subtract_local_average(square, inside)
    return _pixels(square * inside[..., None])


def fundus_mask(image: Image) -> Image:
    """Return the mask of the fundus disc, height × width: 255 inside, 0 outside.

    The disc is the hull of the largest bright region, so text beside it is left out.
    """
    red, green, blue = cv2.split(_shrink(image, 256))
    brightness = cv2.medianBlur(cv2.max(cv2.max(red, green), blue), 5)
    darkest, bright = np.percentile(brightness, (1, 99))
    if bright < DARK:
        raise DataError(
            f"photograph must show a fundus, got brightness {bright:.0f} of 255. Leave it out, or take it again."
        )
    border = min(darkest, DARK)  # in a photograph without a black border, even the darkest pixels exceed DARK
    hull = _hull(brightness >= border + 0.06 * (bright - border))
    return _pixels(cv2.resize(hull, image.shape[1::-1], interpolation=cv2.INTER_NEAREST))


def equalise(image: Image) -> Image:
    """Equalise lightness and keep colour: contrast-limited adaptive histogram equalisation (Zuiderveld 1994)."""
    lightness, *colour = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2LAB))
    equalised = cv2.createCLAHE(clipLimit=2.0, tileGridSize=(8, 8)).apply(lightness)
    return _pixels(cv2.cvtColor(cv2.merge([equalised, *colour]), cv2.COLOR_LAB2RGB))


def subtract_local_average(image: Image, inside: NDArray[np.bool_]) -> Image:
    """Return 128 + 4 (image − its local average), after B. Graham's winning entry to Kaggle's contest of 2015.

    The average is over the disc alone, so that the disc's rim has no halo and need not be cut off.
    """
    sigma = image.shape[0] / 60
    weight = inside.astype(np.float32)
    total = cv2.GaussianBlur(image * weight[..., None], (0, 0), sigma)
    average = total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3)[..., None]
    return _pixels(np.clip(128 + 4 * (image - average), 0, 255))


def _square(image: Image) -> Image:
    height, width = image.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return _pixels(
        cv2.copyMakeBorder(image, top, side - height - top, left, side - width - left, cv2.BORDER_CONSTANT, value=0)
    )


def _resize(image: Image, size: int) -> Image:
    smooth = cv2.INTER_AREA if size < image.shape[0] else cv2.INTER_CUBIC  # INTER_AREA enlarges a pixel to a block
    return _pixels(cv2.resize(image, (size, size), interpolation=smooth))


def _shrink(image: Image, longest: int) -> Image:
    scale = min(1.0, longest / max(image.shape))
    height, width = (max(1, round(side * scale)) for side in image.shape[:2])
    return _pixels(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))


def _hull(bright: NDArray[np.bool_]) -> Image:
    regions, _ = cv2.findContours(bright.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = cv2.convexHull(max(regions, key=cv2.contourArea))
    return _pixels(cv2.fillConvexPoly(np.zeros(bright.shape, np.uint8), largest, 255))


def _pixels(image: NDArray[np.generic]) -> Image:
    return np.asarray(image, dtype=np.uint8)
