"""Place the lesions of an eye and the distractors of a photograph."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from teledx_fed.data.anatomy import EyeAnatomy
from teledx_fed.data.cameras import DISC_DIAMETER, Camera, Points
from teledx_fed.data.lesions import DEFINING, HAEMORRHAGES_A_QUADRANT, TABLE, Finding, FindingKind

Mask = NDArray[np.bool_]
MACULA = 1.0
"""Radius around the fovea, in disc diameters, within which an exudate means oedema."""
MARGIN = 0.3
"""Smallest distance of a lesion from the rim, in disc diameters, since no photograph is centred exactly."""
TRUNK = 0.04
"""Width in disc diameters from which a vein can show beading."""


@dataclass(frozen=True)
class FundusView:
    """The part of an eye in a camera's field when it aims at one point of the fundus."""

    eye: EyeAnatomy
    camera: Camera
    aim: complex

    def holds(self, points: Points, margin: float) -> Mask:
        return self.camera.sees(points - self.aim, margin)

    def quadrant(self, points: Points) -> NDArray[np.int64]:
        """Return the quadrant about the aim, 0 to 3."""
        offset = points - self.aim
        return 2 * (offset.imag > 0) + (offset.real > 0)

    def veins(self, margin: float) -> Points:
        trunks = self.eye.vessels[0]
        points = trunks.path[(trunks.width > TRUNK) & ~trunks.artery[:, None]]
        return points[self.holds(points, margin)]


def findings(
    rng: np.random.Generator, kinds: Iterable[FindingKind], grade: int, fundus: FundusView, oedema: bool = False
) -> tuple[Finding, ...]:
    """Draw findings on the fundus of an eye of this grade, in disc diameters."""
    certain = _certain(rng, grade, oedema)
    placed: list[Finding] = []
    for kind in kinds:
        share, low, high = TABLE[kind].grades.get(grade, (0, 0, 0))
        if kind in certain or rng.random() < share:
            count = int(rng.integers(low, high + 1))
            placed += _with_looks(rng, kind, _places(rng, kind, count, fundus, kind in certain))
    return tuple(placed)


def _certain(rng: np.random.Generator, grade: int, oedema: bool) -> set[FindingKind]:
    defining = DEFINING.get(grade, ())
    chosen = {defining[rng.integers(len(defining))]} if defining else set()
    return chosen | ({FindingKind.HARD_EXUDATE} if oedema else set())


def _places(rng: np.random.Generator, kind: FindingKind, count: int, fundus: FundusView, certain: bool) -> Points:
    margin = MARGIN + TABLE[kind].diameter[1] / 2 / DISC_DIAMETER
    match kind:
        case FindingKind.HAEMORRHAGE if certain:
            return _in_each_quadrant(rng, fundus, margin)
        case FindingKind.HARD_EXUDATE:
            return _exudates(rng, count, fundus, margin, oedema=certain)
        case FindingKind.DRUSEN:
            return _clustered(rng, count, lambda points: fundus.holds(points, margin), fundus)
        case FindingKind.VENOUS_BEADING:
            veins = rng.permutation(fundus.veins(margin))
            _, first = np.unique(fundus.quadrant(veins), return_index=True)
            return veins[rng.permutation(first)[:count]]
        case FindingKind.NEOVASCULARISATION:
            rim = fundus.eye.disc + 0.3 * np.exp(1j * rng.uniform(0, 2 * np.pi, 60))
            veins = fundus.veins(margin)
            return rng.choice(np.concatenate([veins, rim[fundus.holds(rim, margin)]]), count)
        case _:
            return _scattered(rng, count, lambda points: fundus.holds(points, margin), fundus)


def _with_looks(rng: np.random.Generator, kind: FindingKind, places: Points) -> list[Finding]:
    row = TABLE[kind]
    diameters = rng.uniform(*row.diameter, len(places)) / DISC_DIAMETER
    contrasts, shapes = rng.uniform(*row.contrast, len(places)), rng.uniform(0, 2 * np.pi, len(places))
    return [
        Finding(kind, complex(place), float(diameter) / 2, float(contrast), float(shape))
        for place, diameter, contrast, shape in zip(places, diameters, contrasts, shapes, strict=True)
    ]


def _accepted(count: int, propose: Callable[[int], Points], allowed: Callable[[Points], Mask]) -> Points:
    points = np.empty(0, dtype=np.complex128)
    while len(points) < count:
        candidates = propose(4 * count + 16)
        points = np.concatenate([points, candidates[allowed(candidates)]])
    return points[:count]


def _scattered(rng: np.random.Generator, count: int, allowed: Callable[[Points], Mask], fundus: FundusView) -> Points:
    """Draw places evenly over the field, but never on the optic disc."""
    reach = fundus.camera.reach

    def propose(n: int) -> Points:
        return fundus.aim + rng.uniform(-reach, reach, n) + 1j * rng.uniform(-reach, reach, n)

    return _accepted(count, propose, lambda points: allowed(points) & (np.abs(points - fundus.eye.disc) > 0.6))


def _clustered(
    rng: np.random.Generator, count: int, allowed: Callable[[Points], Mask], fundus: FundusView, spread: float = 0.3
) -> Points:
    centres = _scattered(rng, int(rng.integers(1, 4)), allowed, fundus)

    def propose(n: int) -> Points:
        strayed = spread * (rng.standard_normal(n) + 1j * rng.standard_normal(n))
        return np.asarray(rng.choice(centres, n) + strayed, np.complex128)

    return _accepted(count, propose, allowed)


def _in_each_quadrant(rng: np.random.Generator, fundus: FundusView, margin: float) -> Points:
    low, high = HAEMORRHAGES_A_QUADRANT

    def within(quadrant: int) -> Points:
        def allowed(points: Points) -> Mask:
            return fundus.holds(points, margin) & (fundus.quadrant(points) == quadrant)

        return _scattered(rng, int(rng.integers(low, high + 1)), allowed, fundus)

    return np.concatenate([within(quadrant) for quadrant in range(4)])


def _exudates(rng: np.random.Generator, count: int, fundus: FundusView, margin: float, oedema: bool) -> Points:
    """Draw exudates: half of them within the macula for oedema, else none within it."""
    central = (count + 1) // 2 if oedema else 0
    inside = _clustered(rng, central, lambda points: np.abs(points) < MACULA, fundus, 0.25)
    outside = _clustered(
        rng, count - central, lambda points: fundus.holds(points, margin) & (np.abs(points) > 1.1 * MACULA), fundus
    )
    return np.concatenate([inside, outside])
