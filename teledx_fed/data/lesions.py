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


class FindingKind(StrEnum):
    """Kind of lesion or distractor."""

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
class Looks:
    """Looks and frequency of a kind: `diameter` in micrometres; `contrast` 1 is its darkest or brightest.

    `grades`: the share of eyes of a grade that have the lesion, and the smallest and largest number in such an eye.
    """

    diameter: Range
    contrast: Range
    grades: Mapping[int, Count]


def _every_grade(count: Count) -> Mapping[int, Count]:
    return dict.fromkeys(range(GRADES), count)


TABLE = {
    FindingKind.MICROANEURYSM: Looks(
        (45, 120), (0.50, 0.85), {1: (1, 1, 6), 2: (1, 2, 12), 3: (1, 5, 20), 4: (1, 3, 15)}
    ),
    FindingKind.HAEMORRHAGE: Looks((100, 300), (0.45, 0.85), {2: (1, 3, 18), 3: (1, 8, 40), 4: (1, 4, 30)}),
    FindingKind.HARD_EXUDATE: Looks((45, 170), (0.55, 0.95), {2: (0.60, 4, 40), 3: (0.70, 6, 60), 4: (0.60, 6, 50)}),
    FindingKind.COTTON_WOOL_SPOT: Looks((300, 650), (0.30, 0.60), {2: (0.25, 1, 3), 3: (0.60, 2, 6), 4: (0.50, 1, 5)}),
    FindingKind.VENOUS_BEADING: Looks((900, 1500), (0.60, 1.00), {3: (0.25, 2, 4), 4: (0.25, 2, 4)}),
    FindingKind.IRMA: Looks((350, 800), (0.40, 0.70), {3: (0.25, 1, 4), 4: (0.25, 1, 4)}),
    FindingKind.NEOVASCULARISATION: Looks((700, 1700), (0.45, 0.80), {4: (0.50, 1, 3)}),
    FindingKind.PRERETINAL_HAEMORRHAGE: Looks((1200, 2800), (0.70, 1.00), {4: (0.20, 1, 1)}),
    FindingKind.VITREOUS_HAEMORRHAGE: Looks((1800, 4500), (0.40, 0.90), {4: (0.20, 1, 3)}),
    FindingKind.DRUSEN: Looks((50, 150), (0.25, 0.60), _every_grade((0.30, 5, 40))),
    FindingKind.NAEVUS: Looks((900, 2400), (0.40, 0.80), _every_grade((0.06, 1, 1))),
    FindingKind.DUST: Looks((80, 300), (0.20, 0.60), _every_grade((0.40, 1, 5))),
    FindingKind.REFLECTION: Looks((250, 1500), (0.15, 0.50), _every_grade((0.35, 1, 3))),
}
HAEMORRHAGES_A_QUADRANT = (21, 27)
"""The smallest and largest number in each of four quadrants, where haemorrhages define grade 3."""
DEFINING = {
    3: (FindingKind.HAEMORRHAGE, FindingKind.VENOUS_BEADING, FindingKind.IRMA),
    4: (FindingKind.NEOVASCULARISATION, FindingKind.PRERETINAL_HAEMORRHAGE, FindingKind.VITREOUS_HAEMORRHAGE),
}
"""An eye of the grade always has one of these, and others by the shares of the table."""

OF_THE_EYE = (FindingKind.DRUSEN, FindingKind.NAEVUS)
OF_THE_PHOTOGRAPH = (FindingKind.DUST, FindingKind.REFLECTION)
"""Distractors: equally frequent in every grade."""
LESIONS = tuple(kind for kind in FindingKind if kind not in OF_THE_EYE + OF_THE_PHOTOGRAPH)

OEDEMA = (0.0, 0.0, 0.25, 0.40, 0.40)
"""The share of eyes of each grade with exudates within a disc diameter of the fovea."""


@dataclass(frozen=True)
class Finding:
    """A lesion or distractor: `centre` is x + iy; in disc diameters on the fundus, in pixels on a photograph.

    `shape` varies the outline.
    """

    kind: FindingKind
    centre: complex
    radius: float
    contrast: float
    shape: float
