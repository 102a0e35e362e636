"""Lesions of synthetic eyes: number, size, contrast and place, by grade.

Definition of grades: ICDR (Wilkinson et al., Ophthalmology 2003;110:1677-82), whose grade 3 is the 4-2-1 rule
of ETDRS report 12 (Ophthalmology 1991;98:823-33): more than 20 haemorrhages in each of 4 quadrants, venous beading in
2, or prominent IRMA in 1. Sizes: ETDRS report 10 (Ophthalmology 1991;98:786-806), where a microaneurysm is under
125 µm. Oedema: hard exudates within a disc diameter of the fovea, as photographs without stereo are read (Messidor).
The table was fixed before any model was trained on it. Counts, shares and contrasts within those rules are our choice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from teledx_fed.core.examples import GRADES


class Kind(StrEnum):
    MICROANEURYSM = "microaneurysm"
    HAEMORRHAGE = "dot or blot haemorrhage"
    HARD_EXUDATE = "hard exudate"
    COTTON_WOOL_SPOT = "cotton-wool spot"
    VENOUS_BEADING = "venous beading"
    IRMA = "intraretinal microvascular abnormality"
    NEOVASCULARISATION = "neovascularisation"
    PRERETINAL_HAEMORRHAGE = "preretinal haemorrhage"
    VITREOUS_HAEMORRHAGE = "vitreous haemorrhage"
    DRUSEN = "drusen"
    NAEVUS = "naevus"
    DUST = "dust"
    REFLECTION = "reflection"


Range = tuple[float, float]
Count = tuple[float, int, int]


@dataclass(frozen=True)
class Row:
    """Looks and frequency of a kind: `diameter` in micrometres; `contrast` 1 is its darkest or brightest.

    `grades`: the share of eyes of a grade that have the lesion, and the smallest and largest number in such an eye.
    """

    diameter: Range
    contrast: Range
    grades: Mapping[int, Count]


def every_grade(count: Count) -> Mapping[int, Count]:
    return dict.fromkeys(range(GRADES), count)


TABLE = {
    Kind.MICROANEURYSM: Row((45, 120), (0.50, 0.85), {1: (1, 1, 6), 2: (1, 2, 12), 3: (1, 5, 20), 4: (1, 3, 15)}),
    Kind.HAEMORRHAGE: Row((100, 300), (0.45, 0.85), {2: (1, 3, 18), 3: (1, 8, 40), 4: (1, 4, 30)}),
    Kind.HARD_EXUDATE: Row((45, 170), (0.55, 0.95), {2: (0.60, 4, 40), 3: (0.70, 6, 60), 4: (0.60, 6, 50)}),
    Kind.COTTON_WOOL_SPOT: Row((300, 650), (0.30, 0.60), {2: (0.25, 1, 3), 3: (0.60, 2, 6), 4: (0.50, 1, 5)}),
    Kind.VENOUS_BEADING: Row((900, 1500), (0.60, 1.00), {3: (0.25, 2, 4), 4: (0.25, 2, 4)}),
    Kind.IRMA: Row((350, 800), (0.40, 0.70), {3: (0.25, 1, 4), 4: (0.25, 1, 4)}),
    Kind.NEOVASCULARISATION: Row((700, 1700), (0.45, 0.80), {4: (0.50, 1, 3)}),
    Kind.PRERETINAL_HAEMORRHAGE: Row((1200, 2800), (0.70, 1.00), {4: (0.20, 1, 1)}),
    Kind.VITREOUS_HAEMORRHAGE: Row((1800, 4500), (0.40, 0.90), {4: (0.20, 1, 3)}),
    Kind.DRUSEN: Row((50, 150), (0.25, 0.60), every_grade((0.30, 5, 40))),
    Kind.NAEVUS: Row((900, 2400), (0.40, 0.80), every_grade((0.06, 1, 1))),
    Kind.DUST: Row((80, 300), (0.20, 0.60), every_grade((0.40, 1, 5))),
    Kind.REFLECTION: Row((250, 1500), (0.15, 0.50), every_grade((0.35, 1, 3))),
}
HAEMORRHAGES_A_QUADRANT = (21, 27)
"""The smallest and largest number in each of four quadrants, where haemorrhages define grade 3."""
DEFINING = {
    3: (Kind.HAEMORRHAGE, Kind.VENOUS_BEADING, Kind.IRMA),
    4: (Kind.NEOVASCULARISATION, Kind.PRERETINAL_HAEMORRHAGE, Kind.VITREOUS_HAEMORRHAGE),
}
"""An eye of the grade always has one of these, and others by the shares of the table."""

OF_THE_EYE = (Kind.DRUSEN, Kind.NAEVUS)
OF_THE_PHOTOGRAPH = (Kind.DUST, Kind.REFLECTION)
"""Distractors: equally frequent in every grade."""
LESIONS = tuple(kind for kind in Kind if kind not in OF_THE_EYE + OF_THE_PHOTOGRAPH)

OEDEMA = (0.0, 0.0, 0.25, 0.40, 0.40)
"""The share of eyes of each grade with exudates within a disc diameter of the fovea."""


@dataclass(frozen=True)
class Finding:
    """A lesion or distractor: `centre` is x + iy; in disc diameters on the fundus, in pixels on a photograph.

    `shape` varies the outline.
    """

    kind: Kind
    centre: complex
    radius: float
    contrast: float
    shape: float
