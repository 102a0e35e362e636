"""Where the optic disc lies, and what that says of the field and of the eye: classical image processing, no training.

A disc is bright at its own scale, vertical vessels run through it, and in a photograph held upright the fovea, dark and
without vessels, lies beside it and a little lower. Some cameras deliver photographs turned by 180°: there the fovea
lies higher, the disc is on the wrong side, and nothing is said of the eye.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.examples import Eye, Field
from teledx_fed.data.retina import SIDE, Floats, Mask, Retina, retina, ridges, smoothed

GRID = SIDE // 2
"""The search is on a square of this side, in which a disc is some 14 pixels wide."""
DISC, AROUND = 7, 15
"""Radii in pixels of the grid: of a disc, and of what it has to be brighter than."""
SURE = 1.5
"""The least confidence at which anything is said of field or eye."""
SEEN = 3.0
"""How dark a fovea must be to count, in standard deviations, half of them where vessels cross it."""
LOWER = 0.06
"""How far the fovea of an upright photograph must lie below the disc, in radii: half of them lie 0.08 or more."""

down, right = ((np.indices((GRID, GRID)) - (GRID - 1) / 2) / (GRID / 2)).astype(np.float32)


@dataclass(frozen=True)
class Disc:
    """`x` to the viewer's right and `y` down, in radii of the fundus from its centre.

    `confidence` is by how many standard deviations of the search it beats the next best place; `drop` how far below it
    the fovea lies, in radii, and None where no fovea shows.
    """

    x: float
    y: float
    confidence: float
    drop: float | None = None


def optic_disc(image: NDArray[np.uint8]) -> Disc | None:
    """Of a photograph height × width × 3, RGB; None where nothing looks like one. A `ValueError` where all is dark."""
    seen = retina(image)
    inside = _halved(seen.inner(6)) > 0.5
    if not inside.any():
        return None
    glow = _deviations(_glow(seen), inside)
    upright, vessels = (_deviations(part, inside) for part in _vessels(seen))
    likeness = np.where(inside, np.clip(glow, -2, 4) + np.clip(upright, -2, 4) - 3 * down**2, -np.inf)
    best = np.unravel_index(int(likeness.argmax()), likeness.shape)
    if glow[best] < 1 or upright[best] < 0.5:
        return None
    x, y = _middle(likeness, float(right[best]), float(down[best]))
    elsewhere = likeness[np.hypot(right - x, down - y) > 0.35].max()
    darkness = np.where(_halved(seen.inner(24)) > 0.5, np.clip(-glow, -1, 4) - 0.7 * np.clip(vessels, -1, 2), -np.inf)
    return Disc(x, y, float(likeness[best] - max(elsewhere, -10.0)), _drop(darkness, x, y))


def field_of(disc: Disc | None) -> Field:
    """Macula-centred where the disc lies to one side near the midline, disc-centred where it is in the middle."""
    if disc is None or disc.confidence < SURE:
        return Field.UNKNOWN
    if np.hypot(disc.x, disc.y) < 0.25:
        return Field.DISC
    return Field.MACULA if 0.3 < abs(disc.x) < 0.95 and abs(disc.y) < 0.4 else Field.UNKNOWN


def side_of(disc: Disc | None) -> Eye:
    """The eye of a macula-centred photograph that is surely upright: a right eye's disc is on the viewer's right."""
    if disc is None or field_of(disc) is not Field.MACULA or disc.drop is None or disc.drop < LOWER:
        return Eye.UNKNOWN
    return Eye.RIGHT if disc.x > 0 else Eye.LEFT


def _glow(seen: Retina) -> Floats:
    """How much brighter a disc at each place is than what surrounds it; lesions and reflexes count up to a limit."""
    inside = (_halved(seen.inner(3)) > 0.5).astype(np.float32)
    light = _halved(0.35 * seen.pixels[..., 0] + 0.65 * seen.pixels[..., 1])
    level = np.maximum(smoothed(light, inside > 0, 14), 4)
    relief = np.asarray(np.clip(light / level - 1, -0.3, 0.5), dtype=np.float32)
    return np.subtract(_mean_around(relief, inside, DISC), _mean_around(relief, inside, AROUND))


def _vessels(seen: Retina) -> tuple[Floats, Floats]:
    """How densely vertical vessels, and all of them, run around each place."""
    lines = ridges(seen.pixels[..., 1], seen.inner(3))
    dark = np.minimum(lines.dark, 0.1) * seen.inner(8)
    upright = _halved(dark * np.sin(lines.heading) ** 2)
    return cv2.GaussianBlur(upright, (0, 0), 5), cv2.GaussianBlur(_halved(dark), (0, 0), 6)  # type: ignore[return-value]


def _middle(likeness: Floats, x: float, y: float) -> tuple[float, float]:
    """Of the top around a place: values are clipped, so that it may be flat."""
    near = np.hypot(right - x, down - y) < 0.2
    top = near & (likeness > likeness[near].max() - 1)
    return float(right[top].mean()), float(down[top].mean())


def _drop(darkness: Floats, x: float, y: float) -> float | None:
    across = (right - x) * -np.copysign(1, x)
    beside = (np.abs(across - 0.68) < 0.2) & (np.abs(down - y) < 0.35)
    darkness = np.where(beside, darkness, -np.inf)
    fovea = np.unravel_index(int(darkness.argmax()), darkness.shape)
    return float(down[fovea]) - y if darkness[fovea] > SEEN else None


def _mean_around(relief: Floats, inside: Floats, radius: int) -> Floats:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)).astype(np.float32)
    total, weight = (
        cv2.filter2D(part, cv2.CV_32F, kernel, borderType=cv2.BORDER_CONSTANT) for part in (relief * inside, inside)
    )
    return np.asarray(total / np.maximum(weight, 1), dtype=np.float32)


def _halved(image: NDArray[np.generic]) -> Floats:
    return np.asarray(cv2.resize(image.astype(np.float32), (GRID, GRID), interpolation=cv2.INTER_AREA))


def _deviations(values: Floats, inside: Mask) -> Floats:
    known = values[inside]
    return (values - known.mean()) / (known.std() + 1e-6)
