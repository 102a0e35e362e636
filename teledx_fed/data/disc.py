"""Locate the optic disc, and derive field and eye from its place: classical image processing, no training.

A disc is bright at its own scale, and vertical vessels run through it. In an upright photograph the fovea, dark and
without vessels, lies beside it and a little lower. Some cameras deliver photographs turned by 180°: there the fovea
lies higher, the disc is on the wrong side, and the eye stays unknown.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.examples import Eye, Field
from teledx_fed.data.retina import SIDE, Floats, Mask, Retina, retina_of, ridges, smoothed

GRID = SIDE // 2
"""Side of the square that is searched, in pixels; a disc is about 14 wide there."""
DISC, AROUND = 7, 15
"""Radii in pixels of the grid: of a disc, and of the surroundings that must be darker."""
SURE = 1.5
"""The lowest confidence of a disc that determines field or eye."""
FOVEA = 3.0
"""The lowest score of a fovea: its darkness in standard deviations, reduced where vessels cross it."""
LOWER = 0.06
"""Smallest distance of an upright fovea below the disc, in radii; half of all foveas lie 0.08 or more below."""

down, right = ((np.indices((GRID, GRID)) - (GRID - 1) / 2) / (GRID / 2)).astype(np.float32)


@dataclass(frozen=True)
class Disc:
    """Place of an optic disc: `x` to the viewer's right and `y` down, in radii of the fundus from its centre.

    `confidence` is the lead over the next best place, in standard deviations of the search. `drop` is the distance of
    the fovea below the disc, in radii, and None where no fovea is detected.
    """

    x: float
    y: float
    confidence: float
    drop: float | None = None


def optic_disc(image: NDArray[np.uint8]) -> Disc | None:
    """Locate the disc on a photograph, height × width × 3, RGB. Raise a `DataError` where all is dark."""
    return optic_disc_in(retina_of(image))


def optic_disc_in(retina: Retina) -> Disc | None:
    """Locate the disc on a fundus; None where nothing looks like one."""
    inside = _halved(retina.inner(6)) > 0.5
    if not inside.any():
        return None
    glow = _deviations(_glow(retina), inside)
    upright, vessels = (_deviations(part, inside) for part in _vessels(retina))
    likeness = np.where(inside, np.clip(glow, -2, 4) + np.clip(upright, -2, 4) - 3 * down**2, -np.inf)
    best = np.unravel_index(int(likeness.argmax()), likeness.shape)
    if glow[best] < 1 or upright[best] < 0.5:
        return None
    x, y = _middle(likeness, float(right[best]), float(down[best]))
    elsewhere = likeness[np.hypot(right - x, down - y) > 0.35].max()
    darkness = np.where(_halved(retina.inner(24)) > 0.5, np.clip(-glow, -1, 4) - 0.7 * np.clip(vessels, -1, 2), -np.inf)
    return Disc(x, y, float(likeness[best] - max(elsewhere, -10.0)), _drop(darkness, x, y))


def field_of(disc: Disc | None) -> Field:
    """Return macula-centred for a disc to one side near the midline, disc-centred for a disc in the middle."""
    if disc is None or disc.confidence < SURE:
        return Field.UNKNOWN
    if np.hypot(disc.x, disc.y) < 0.25:
        return Field.DISC
    return Field.MACULA if 0.3 < abs(disc.x) < 0.95 and abs(disc.y) < 0.4 else Field.UNKNOWN


def side_of(disc: Disc | None) -> Eye:
    """Return the eye of a surely upright, macula-centred photograph: a right eye's disc is on the right."""
    if disc is None or field_of(disc) is not Field.MACULA or disc.drop is None or disc.drop < LOWER:
        return Eye.UNKNOWN
    return Eye.RIGHT if disc.x > 0 else Eye.LEFT


def _glow(retina: Retina) -> Floats:
    """Return how much brighter a disc at each place is than its surroundings; lesions and reflexes are clipped."""
    inside = (_halved(retina.inner(3)) > 0.5).astype(np.float32)
    light = _halved(0.35 * retina.pixels[..., 0] + 0.65 * retina.pixels[..., 1])
    level = np.maximum(smoothed(light, inside > 0, 14), 4)
    relief = np.asarray(np.clip(light / level - 1, -0.3, 0.5), dtype=np.float32)
    return np.subtract(_mean_around(relief, inside, DISC), _mean_around(relief, inside, AROUND))


def _vessels(retina: Retina) -> tuple[Floats, Floats]:
    """Return the density around each place of vertical vessels, and of all vessels."""
    lines = ridges(retina.pixels[..., 1], retina.inner(3))
    dark = np.minimum(lines.dark, 0.1) * retina.inner(8)
    upright = _halved(dark * np.sin(lines.heading) ** 2)
    return cv2.GaussianBlur(upright, (0, 0), 5), cv2.GaussianBlur(_halved(dark), (0, 0), 6)  # type: ignore[return-value]


def _middle(likeness: Floats, x: float, y: float) -> tuple[float, float]:
    """Return the middle of the peak around a place: values are clipped, so that the peak may be flat."""
    near = np.hypot(right - x, down - y) < 0.2
    top = near & (likeness > likeness[near].max() - 1)
    return float(right[top].mean()), float(down[top].mean())


def _drop(darkness: Floats, x: float, y: float) -> float | None:
    across = (right - x) * -np.copysign(1, x)
    beside = (np.abs(across - 0.68) < 0.2) & (np.abs(down - y) < 0.35)
    darkness = np.where(beside, darkness, -np.inf)
    fovea = np.unravel_index(int(darkness.argmax()), darkness.shape)
    return float(down[fovea]) - y if darkness[fovea] > FOVEA else None


def _mean_around(relief: Floats, inside: Floats, radius: int) -> Floats:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)).astype(np.float32)
    total, weight = (
        cv2.filter2D(part, cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT) for part in (relief * inside, inside)
    )
    return np.asarray(total / np.maximum(weight, 1), dtype=np.float32)


def _halved(image: NDArray[np.generic]) -> Floats:
    return np.asarray(cv2.resize(image.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA))


def _deviations(values: Floats, inside: Mask) -> Floats:
    sample = values[inside]
    return (values - sample.mean()) / (sample.std() + 1e-6)
