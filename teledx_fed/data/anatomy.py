"""Anatomy of a synthetic eye: optic disc, fovea, pigment, and branching vessels.

Lengths are disc diameters, places are x + iy from the fovea with x towards the nose and y down (see `cameras`).
"""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from teledx_fed.data.cameras import Points

Floats = NDArray[np.float64]

AVASCULAR_ZONE = 0.35
"""The smallest distance of a vessel from the fovea."""
ARCADE = 2.2
"""The length within which an arcade makes most of its turn around the macula."""
BRANCHES = (6, 3)
"""Number of branches of each trunk, and of each branch."""


@dataclass(frozen=True)
class Vessels:
    """Vessels × points: centre lines, and the heading (radians) and width at points; the width past the end is 0."""

    path: Points
    heading: Floats
    width: Floats
    length: Floats
    artery: NDArray[np.bool_]


@dataclass(frozen=True)
class EyeAnatomy:
    """A synthetic eye. `melanin` darkens the whole fundus; `tessellation` is the contrast of the choroid's vessels."""

    disc: complex
    disc_radius: complex
    cup: float
    melanin: float
    tessellation: float
    vessels: tuple[Vessels, ...]


def eye(person_rng: np.random.Generator, eye_rng: np.random.Generator) -> EyeAnatomy:
    """Draw an eye: properties of both eyes from `person_rng`, those of each eye from `eye_rng`."""
    melanin, tessellation, wiggle = person_rng.uniform((0.0, 0.0, 0.12), (1.0, 0.16, 0.30)).tolist()
    disc = complex(eye_rng.uniform(2.45, 2.75), eye_rng.uniform(-0.35, 0.05))
    radius = eye_rng.uniform(0.45, 0.55)
    vessels = [_trunks(eye_rng, disc, wiggle)]
    for count in BRANCHES:
        vessels.append(_branches(eye_rng, vessels[-1], count, 1.3 * wiggle))
    return EyeAnatomy(
        disc=disc,
        disc_radius=complex(radius * eye_rng.uniform(0.85, 0.98), radius),
        cup=eye_rng.uniform(0.25, 0.60),
        melanin=melanin * eye_rng.uniform(0.9, 1.1),
        tessellation=tessellation,
        vessels=tuple(vessels),
    )


def _trunks(rng: np.random.Generator, disc: complex, wiggle: float) -> Vessels:
    """Draw an artery and a vein to each quadrant: up and down, arching around the macula or towards the nose."""
    artery, down, nasal = (np.indices((2, 2, 2)).reshape(3, -1) == 1).astype(bool)
    across, upwards = rng.uniform(-0.09, 0.09, (2, 8))
    heading = np.where(nasal, rng.uniform(40, 65, 8), rng.uniform(95, 120, 8))
    turn = np.where(nasal, rng.uniform(-45, 10, 8), rng.uniform(68, 98, 8))
    mirror = np.where(down, 1, -1)
    return _grown(
        rng,
        root=disc + across + 1j * upwards,
        heading=mirror * np.radians(heading),
        turn=mirror * np.radians(turn),
        width=np.where(artery, 0.058, 0.080) * np.where(nasal, 0.7, 1.0),
        length=np.where(nasal, 4.0, rng.uniform(6, 7.5, 8)),
        artery=artery,
        wiggle=wiggle,
        points=100,
    )


def _branches(rng: np.random.Generator, parents: Vessels, count: int, wiggle: float) -> Vessels:
    """Draw `count` branches of each parent, to alternating sides."""
    vessels, points = parents.path.shape
    share = (np.arange(count) + rng.uniform(0.3, 1.0, (vessels, count))) / (count + 0.5)
    parent, at = np.arange(vessels).repeat(count), (share * points).astype(int).ravel()
    side = (rng.choice((-1, 1), (vessels, 1)) * (-1) ** np.arange(count)).ravel()
    leaving, easing, thinning, reaching = rng.uniform(
        (0.5, -1.3, 0.40, 0.35), (1.1, 0.1, 0.65, 0.80), (vessels * count, 4)
    ).T
    is_visible = parents.width[parent, at] > 0
    grown = _grown(
        rng,
        root=parents.path[parent, at],
        heading=parents.heading[parent, at] + side * leaving,
        turn=side * easing,
        width=parents.width[parent, at] * thinning,
        length=0.4 + reaching * np.minimum(parents.length[parent] * (1 - share.ravel()), 2.5),
        artery=parents.artery[parent],
        wiggle=wiggle,
        points=points // 2,
    )
    return Vessels(*(getattr(grown, part.name)[is_visible] for part in fields(Vessels)))


def _grown(
    rng: np.random.Generator,
    root: Points,
    heading: Floats,
    turn: Floats,
    width: Floats,
    length: Floats,
    artery: NDArray[np.bool_],
    wiggle: float,
    points: int,
) -> Vessels:
    along = np.linspace(0, length, points, axis=1)
    slow, fast = rng.uniform(0, 2 * np.pi, (2, len(root), 1))
    sway = wiggle * (np.sin(2.5 * along + slow) - np.sin(slow) + 0.6 * np.sin(7 * along + fast))
    headings = heading[:, None] + turn[:, None] * (1 - np.exp(-along / ARCADE)) + sway
    path = root[:, None] + np.cumsum(np.exp(1j * headings), axis=1) * (length / points)[:, None]
    outside = np.logical_and.accumulate(np.abs(path) > AVASCULAR_ZONE, axis=1)
    end = np.maximum(outside.sum(axis=1, keepdims=True) - 1, 0)
    widths = width[:, None] * np.linspace(1, 0.25, points) * outside
    path = np.take_along_axis(path, np.minimum(np.arange(points), end), axis=1)
    return Vessels(path, headings, widths, length, artery)
