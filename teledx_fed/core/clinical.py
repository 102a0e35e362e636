"""A patient's study: what was photographed, what the model suggests of it, what a clinician makes of it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from teledx_fed.core.checks import must, within
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import GRADES, Eye, Field, Photograph

SUGGESTION = "Suggestion, not a diagnosis."
"""On every output."""
GRADE_NAMES = (
    "no apparent retinopathy",
    "mild non-proliferative retinopathy",
    "moderate non-proliferative retinopathy",
    "severe non-proliferative retinopathy",
    "proliferative retinopathy",
)
"""By ICDR grade (International Clinical Diabetic Retinopathy scale)."""
DEMONSTRATION = "Demonstration, not for patients."
"""Beside it, where the model was trained on drawn eyes."""


MOST_NOT_UNDERSTOOD = 200


class Fault(StrEnum):
    """Why a photograph cannot be graded."""

    NOT_A_FUNDUS = "not_a_fundus"
    TOO_DARK = "too_dark"
    TOO_BRIGHT = "too_bright"
    LOW_CONTRAST = "low_contrast"
    BLURRED = "blurred"
    FIELD_CUT = "field_cut"


class OutOfScope(StrEnum):
    """Why the model was not made for a patient, or for a photograph."""

    AGE = "age"
    PREGNANCY = "pregnancy"
    NO_DIABETES = "no_diabetes"
    TREATED = "treated"
    KNOWN_RETINOPATHY = "known_retinopathy"
    ACUITY = "acuity"
    SYMPTOMS = "symptoms"
    NOT_UNDERSTOOD = "not_understood"
    CAMERA = "camera"
    IMAGE_SIZE = "image_size"


class Gap(StrEnum):
    """What a study lacks, or contradicts itself in."""

    EYE_MISSING = "eye_missing"
    EYE_UNKNOWN = "eye_unknown"
    EYE_CONTRADICTED = "eye_contradicted"
    EYE_NAME_BOTH = "eye_name_both"
    EYE_NAME_UNCLEAR = "eye_name_unclear"
    EYE_NAME_OTHER = "eye_name_other"
    EYE_STATED_TWICE = "eye_stated_twice"
    PHOTOGRAPH_SHARED = "photograph_shared"
    BOTH_EYES_ALIKE = "both_eyes_alike"
    NO_MACULA = "no_macula"


class Certainty(StrEnum):
    CONFIDENT = "confident"
    UNCERTAIN = "uncertain"
    UNGRADABLE = "ungradable"
    INCOMPLETE = "incomplete"
    OUT_OF_SCOPE = "out_of_scope"


class Action(StrEnum):
    """From the mildest on."""

    RESCREEN = "rescreen"
    RETAKE = "retake"
    HUMAN_READ = "human_read"
    REFER = "refer"
    URGENT = "urgent"


def sternest(actions: Iterable[Action]) -> Action:
    return max(actions, key=list(Action).index)


class Diabetes(StrEnum):
    TYPE_1 = "type_1"
    TYPE_2 = "type_2"
    OTHER = "other"
    NONE = "none"


@dataclass(frozen=True)
class PatientRecord:
    """What decides whether the model may speak of a patient; None where nobody said.

    `age` in years; `treated`: laser or injection, ever; `acuity` of the worse eye, decimal, corrected; `symptoms` are
    new ones; `not_understood` names what a sender said that was not read and may matter, by kind and code.
    """

    age: float | None = None
    pregnant: bool | None = None
    diabetes: Diabetes | None = None
    treated: bool | None = None
    known_retinopathy: bool | None = None
    acuity: float | None = None
    symptoms: bool | None = None
    not_understood: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, most in (("age", 130), ("acuity", 3)):
            if (value := getattr(self, name)) is not None:
                within(f"record.{name}", value, 0, most, DataError)
        short = all(0 < len(text) <= 100 and text.isprintable() for text in self.not_understood)
        fits = short and len(self.not_understood) <= MOST_NOT_UNDERSTOOD
        got = len(self.not_understood)
        must(
            fits,
            "record.not_understood",
            f"be {MOST_NOT_UNDERSTOOD} short texts at most",
            got,
            "Leave others out.",
            DataError,
        )


@dataclass(frozen=True)
class StudyImage:
    """`doubts`: what speaks against its eye, or its patient."""

    photograph: Photograph
    eye: Eye = Eye.UNKNOWN
    field: Field = Field.UNKNOWN
    camera: str = "unknown"
    doubts: tuple[Gap, ...] = ()


@dataclass(frozen=True)
class Study:
    """`patient` is a pseudonym; `acquired` ISO 8601."""

    id: str
    images: tuple[StudyImage, ...]
    patient: str | None = None
    record: PatientRecord = PatientRecord()
    acquired: str | None = None


@dataclass(frozen=True)
class Graded:
    """What the model says of an eye, calibrated at this site.

    `probabilities` of the five grades; `grades` are those that cannot be ruled out (the conformal set); `referable`,
    `vision_threatening` and `oedema` are probabilities too; `refers` and `is_urgent` are decisions at the operating
    points, None where too little evidence stands behind one to decide. A photograph without depth cannot confirm
    oedema.
    """

    probabilities: tuple[float, ...]
    grades: tuple[int, ...]
    referable: float
    vision_threatening: float
    refers: bool | None
    is_urgent: bool | None
    oedema: float | None = None

    @property
    def grade(self) -> int:
        return max(range(GRADES), key=self.probabilities.__getitem__)


Reason = Fault | OutOfScope | Gap


@dataclass(frozen=True)
class EyeDiagnosis:
    """`graded` is None where the model was not asked: no photograph of the eye shows a fundus."""

    eye: Eye
    certainty: Certainty
    action: Action
    reasons: tuple[Reason, ...] = ()
    graded: Graded | None = None

    @property
    def grade(self) -> int | None:
        """The suggested grade; None for an ungradable eye, even where the model found disease in a poor photograph."""
        return None if self.graded is None or self.certainty is Certainty.UNGRADABLE else self.graded.grade


@dataclass(frozen=True)
class Diagnosis:
    """A suggestion. `months` until the next photograph or visit, by the site's referral rules; None where undecided.

    `model` is the digest of the bundle.
    """

    eyes: tuple[EyeDiagnosis, ...]
    certainty: Certainty
    action: Action
    months: float | None
    model: str
    demonstration: bool
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True)
class EyeReading:
    """A clinician's. `grade` is None exactly where the eye is not gradable, `oedema` where they cannot say.

    `findings` beside retinopathy, such as drusen.
    """

    eye: Eye
    gradable: bool
    grade: int | None = None
    oedema: bool | None = None
    treated: bool = False
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """Append-only; an agreement is a reading too. `overrules` says why the suggestion was not followed.

    `suggestion` is the digest of what was suggested, None where there was none; `seen` whether the reader saw it first.
    `photographs` are the digests of those that were there; empty where nobody said.
    """

    study: str
    reader: str
    time: datetime
    eyes: tuple[EyeReading, ...]
    urgency: Action
    suggestion: str | None
    seen: bool
    overrules: str = ""
    note: str = ""
    photographs: tuple[str, ...] = ()
