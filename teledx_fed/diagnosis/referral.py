"""Referral rules of a site: screening intervals, and which patients are in the model's scope."""

from dataclasses import dataclass, field

from teledx_fed.core.checks import must, within
from teledx_fed.core.clinical import Diabetes, Graded, OutOfScope, PatientRecord
from teledx_fed.core.examples import GRADES

ICO = (
    "ICO Guidelines for Diabetic Eye Care, updated 2017 (Wong et al., Ophthalmology 2018;125:1608-22), "
    "the shorter interval of each range"
)
SIGNS_OF_OEDEMA = 0.5


@dataclass
class ReferralSettings:
    """Screening intervals, and limits of the model's scope.

    `months`: the interval for each grade. `oedema_months`: the longest interval with signs of oedema, because a
    photograph does not show whether the centre is involved. Clinicians read patients younger than `youngest` (years)
    and with a visual acuity below `acuity` (decimal).
    """

    guideline: str = ICO
    months: list[float] = field(default_factory=lambda: [12, 6, 3, 1, 0.5])
    oedema_months: float = 1
    youngest: float = 18
    acuity: float = 0.5

    def __post_init__(self) -> None:
        falling = len(self.months) == GRADES and sorted(self.months, reverse=True) == list(self.months)
        must(
            falling and min(self.months) > 0,
            "referral.months",
            f"be {GRADES} numbers above 0, none larger than the one before",
            self.months,
            "Give one for each ICDR grade 0 to 4.",
        )
        within("referral.oedema_months", self.oedema_months, 0.01, 120)
        within("referral.youngest", self.youngest, 0, 120)
        within("referral.acuity", self.acuity, 0, 2)

    def months_until(self, graded: Graded) -> float:
        """Return the shortest interval, in months, by grade, decisions and signs of oedema."""
        grade = max(graded.grade, 2 if graded.refers else 0, 3 if graded.is_urgent else 0)
        signs = graded.oedema is not None and graded.oedema >= SIGNS_OF_OEDEMA
        return min(self.months[grade], self.oedema_months) if signs else self.months[grade]

    def outside(self, record: PatientRecord) -> tuple[OutOfScope, ...]:
        """Return why a patient is out of the model's scope; missing items of the record are no reason."""
        reasons = {
            OutOfScope.AGE: record.age is not None and record.age < self.youngest,
            OutOfScope.PREGNANCY: record.pregnant,
            OutOfScope.NO_DIABETES: record.diabetes is Diabetes.NONE,
            OutOfScope.TREATED: record.treated,
            OutOfScope.KNOWN_RETINOPATHY: record.known_retinopathy,
            OutOfScope.ACUITY: record.acuity is not None and record.acuity < self.acuity,
            OutOfScope.SYMPTOMS: record.symptoms,
            OutOfScope.NOT_UNDERSTOOD: bool(record.not_understood),
        }
        return tuple(reason for reason, holds in reasons.items() if holds)
