"""What can be measured of a photograph before anyone looks at it."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from teledx_fed.data.preprocessing import fundus_mask

WIDTH = 512
"""Of the disc, in pixels, so that photographs of any size compare."""

DARKEST, BRIGHTEST = 8, 247
"""Grey levels, of 255, beyond which there is nothing left to see."""


@dataclass(frozen=True)
class Quality:
    """Of the disc alone.

    `exposure` is the mean of green, 0 to 1, and `clipped` the share of pixels without detail; `contrast` is the
    standard deviation of green over its mean; `sharpness` the deviation of green's Laplacian over that of green;
    `field` the share that the disc fills of the square around it: π/4 where nothing of it is cut off.
    """

    exposure: float
    clipped: float
    contrast: float
    sharpness: float
    field: float


def quality(image: NDArray[np.uint8]) -> Quality:
    """Of a photograph height × width × 3, RGB. A `ValueError` where it shows no fundus."""
    mask = fundus_mask(image)
    x, y, width, height = cv2.boundingRect(mask)
    window = np.s_[y : y + height, x : x + width]
    scale = WIDTH / max(width, height)
    green, disc = (
        cv2.resize(part[window], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for part in (image[..., 1], mask)
    )
    inside = cv2.erode(disc, np.ones((9, 9), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 127
    seen = green[inside].astype(np.float64)
    edges = cv2.Laplacian(green, cv2.CV_64F, ksize=3)[inside]
    deviation = max(float(seen.std()), 1e-6)
    return Quality(
        exposure=float(seen.mean()) / 255,
        clipped=float(((seen <= DARKEST) | (seen >= BRIGHTEST)).mean()),
        contrast=deviation / max(float(seen.mean()), 1e-6),
        sharpness=float(edges.std()) / deviation,
        field=float(np.count_nonzero(mask)) / max(width, height) ** 2,
    )
