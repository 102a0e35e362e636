"""Measure the quality of a photograph, and decide whether it can be graded."""

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.clinical import Fault
from teledx_fed.data.preprocessing import DARK, fundus_mask
from teledx_fed.data.retina import BACKGROUND, RIM, Retina, find_retina, ridges, smoothed

WIDTH = 512
"""Width of the disc, in pixels, so that photographs of any size are comparable."""

DARKEST, BRIGHTEST = 8, 247
"""Grey levels, of 255, beyond which a pixel shows no detail."""
DIM = 24
"""The luminance, of 255, up to which noise hides lesions."""
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""Weights of red, green and blue (ITU-R BT.601)."""


@dataclass(frozen=True)
class Quality:
    """Measures of the disc alone.

    `exposure` is the mean of green, 0 to 1, and `clipped` the share of pixels without detail; `contrast` is the
    standard deviation of green over its mean; `sharpness` the deviation of green's Laplacian over that of green;
    `field` the share of the surrounding square that the disc fills: π/4 for a whole disc.
    """

    exposure: float
    clipped: float
    contrast: float
    sharpness: float
    field: float


def quality(image: NDArray[np.uint8]) -> Quality:
    """Measure a photograph, height × width × 3, RGB. Raise a `DataError` where it shows no fundus."""
    mask = fundus_mask(image)
    x, y, width, height = cv2.boundingRect(mask)
    window = np.s_[y : y + height, x : x + width]
    scale = WIDTH / max(width, height)
    green, disc = (
        cv2.resize(part[window], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        for part in (image[..., 1], mask)
    )
    inside = cv2.erode(disc, np.ones((9, 9), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0) > 127
    levels = green[inside].astype(np.float64)
    edges = cv2.Laplacian(green, cv2.CV_64F, ksize=3)[inside]
    deviation = max(float(levels.std()), 1e-6)
    return Quality(
        exposure=float(levels.mean()) / 255,
        clipped=float(((levels <= DARKEST) | (levels >= BRIGHTEST)).mean()),
        contrast=deviation / max(float(levels.mean()), 1e-6),
        sharpness=float(edges.std()) / deviation,
        field=float(np.count_nonzero(mask)) / max(width, height) ** 2,
    )


@dataclass(frozen=True)
class QualityLimits:
    """Limits for a photograph that can be graded, set on graded photographs of four sites (docs/results/quality.md).

    `exposure` is the mean of green, lowest and highest, 0 to 1; `light` the lowest mean of the brightest channel, red
    in most eyes, 0 to 1; `shadow` and `glare` the largest shares of the disc that are too dim or too bright; `detail`
    the darkness of its darkest twentieth, relative to the background: fainter is haze, darker is no vessel; `sharpness`
    the contrast at the scale of vessels over that at twice the scale: less is blur, more is noise; `field` as in
    `Quality`.

    The others recognise a fundus: dark `corners` around it; `warmth`, the logarithm of red over blue; `chroma`, 0 to 1;
    a `texture` as smooth as a retina's; `lines`, dark ones over bright ones.
    """

    exposure: tuple[float, float] = (0.085, 0.83)
    light: float = 0.176
    shadow: float = 0.35
    glare: float = 0.1
    detail: tuple[float, float] = (0.007, 0.12)
    sharpness: tuple[float, float] = (0.57, 1.2)
    field: float = 0.57
    corners: int = 2
    warmth: float = -0.05
    chroma: float = 0.03
    texture: float = 0.027
    lines: float = 0.85


@dataclass(frozen=True)
class Signs:
    """Measurements that `QualityLimits` limits, by the same names."""

    exposure: float
    light: float
    shadow: float
    glare: float
    detail: float
    sharpness: float
    field: float
    corners: int
    warmth: float
    chroma: float
    texture: float
    lines: float


def faults(image: NDArray[np.uint8], limits: QualityLimits = QualityLimits()) -> tuple[Fault, ...]:
    """List the reasons why a photograph, height × width × 3, RGB, cannot be graded. No fundus is the only reason then.

    Monochrome and red-free photographs count as no fundus: the model was not trained on them.
    """
    return faults_of(signs(image), limits)


def faults_of(signs: Signs | None, limits: QualityLimits) -> tuple[Fault, ...]:
    """List the reasons why a photograph with these measurements cannot be graded."""
    if signs is None or _is_something_else(signs, limits):
        return (Fault.NOT_A_FUNDUS,)
    shortcomings = _shortcomings(signs, limits)
    has_vessels = signs.lines >= limits.lines and signs.sharpness <= limits.sharpness[1]
    if shortcomings or has_vessels:  # a poor photograph need not show vessels
        return shortcomings
    return (Fault.NOT_A_FUNDUS,)


def signs(image: NDArray[np.uint8]) -> Signs | None:
    """Measure a photograph, height × width × 3, RGB. None where all is dark, or the fundus is too small."""
    retina = find_retina(image)
    return None if retina is None else signs_of(retina)


def signs_of(retina: Retina) -> Signs | None:
    """Measure a fundus. None where it is too small."""
    inside, deep = retina.inner(RIM), retina.inner(0.08 * len(retina.inside))
    if not deep.any():
        return None
    green, colour = retina.pixels[..., 1], retina.pixels[inside]
    red, _, blue = colour.mean(axis=0) + 1
    level = np.maximum(smoothed(green, retina.inside, BACKGROUND), 4)
    scales = [smoothed(green, retina.inside, sigma) / level for sigma in (1, 2, 4)]
    fine, coarse = (float(np.median(np.abs(a - b)[inside])) for a, b in pairwise(scales))
    lines = ridges(green, inside)
    return Signs(
        exposure=float(green[inside].mean()) / 255,
        light=float(colour.max(axis=1).mean()) / 255,
        shadow=float((colour @ LUMINANCE <= DIM).mean()),
        glare=float((green[inside] >= BRIGHTEST).mean()),
        detail=float(np.percentile(lines.dark[inside], 95)),
        sharpness=fine / max(coarse, 1e-6),
        field=float(np.count_nonzero(retina.mask)) / max(cv2.boundingRect(retina.mask)[2:]) ** 2,
        corners=_dark_corners(retina),
        warmth=float(np.log(red / blue)),
        chroma=float(np.ptp(colour, axis=1).mean() / max(float(colour.max(axis=1).mean()), 1.0)),
        texture=coarse,
        lines=float(lines.dark[deep].mean() / max(float(lines.bright[deep].mean()), 1e-6)),
    )


def _is_something_else(signs: Signs, limits: QualityLimits) -> bool:
    return (
        signs.corners < limits.corners
        or signs.warmth < limits.warmth
        or signs.chroma < limits.chroma
        or signs.texture > limits.texture
        or signs.detail > limits.detail[1]
    )


def _shortcomings(signs: Signs, limits: QualityLimits) -> tuple[Fault, ...]:
    darkest, brightest = limits.exposure
    decisions = {
        Fault.TOO_DARK: signs.exposure < darkest or signs.light < limits.light or signs.shadow > limits.shadow,
        Fault.TOO_BRIGHT: signs.exposure > brightest or signs.glare > limits.glare,
        Fault.LOW_CONTRAST: signs.detail < limits.detail[0],
        Fault.BLURRED: signs.sharpness < limits.sharpness[0],
        Fault.FIELD_CUT: signs.field < limits.field,
    }
    return tuple(fault for fault, applies in decisions.items() if applies)


def _dark_corners(retina: Retina) -> int:
    """Count the corners of the fundus's box that lie outside it: four where it is round, 0 where they are bright."""
    x, y, width, height = cv2.boundingRect(retina.mask)
    surroundings = retina.photograph[cv2.dilate(retina.mask, np.ones((5, 5), np.uint8)) == 0]
    if surroundings.size and np.percentile(surroundings.max(axis=1), 90) > 2 * DARK:
        return 0
    reach = max(1, min(width, height) // 64)
    ends, box = (slice(0, reach), slice(-reach, None)), retina.mask[y : y + height, x : x + width]
    return sum(bool(box[down, across].mean() < 128) for down in ends for across in ends)
