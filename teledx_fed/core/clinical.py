"""A patient's study: its photographs, the model's suggestion and the clinician's reading."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from teledx_fed.core.checks import must, within
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import GRADES, Eye, Field, Photograph

SUGGESTION = "Suggestion, not a diagnosis."
"""Every output shows it."""
GRADE_NAMES = (
    "no apparent retinopathy",
    "mild non-proliferative retinopathy",
    "moderate non-proliferative retinopathy",
    "severe non-proliferative retinopathy",
    "proliferative retinopathy",
)
"""Names by ICDR grade (International Clinical Diabetic Retinopathy scale)."""
DEMONSTRATION = "Demonstration, not for patients."
"""Shown too where the model was trained on synthetic eyes."""


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
    """Why a patient or a photograph is outside the model's intended use."""

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
    """What is missing or contradictory in a study."""

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
    """How far a suggestion can be relied on."""

    CONFIDENT = "confident"
    UNCERTAIN = "uncertain"
    UNGRADABLE = "ungradable"
    INCOMPLETE = "incomplete"
    OUT_OF_SCOPE = "out_of_scope"


class Action(StrEnum):
    """The next step for a patient, from least to most urgent."""

    RESCREEN = "rescreen"
    RETAKE = "retake"
    HUMAN_READ = "human_read"
    REFER = "refer"
    URGENT = "urgent"


def most_urgent(actions: Iterable[Action]) -> Action:
    """Return the most urgent action."""
    return max(actions, key=list(Action).index)


class Diabetes(StrEnum):
    """Type of diabetes, as the sender states it."""

    TYPE_1 = "type_1"
    TYPE_2 = "type_2"
    OTHER = "other"
    NONE = "none"


@dataclass(frozen=True)
class PatientRecord:
    """Facts that decide whether a patient is within the model's intended use; None where unknown.

    `age` in years; `treated`: laser or injection, ever; `acuity` of the worse eye, decimal, corrected; `symptoms` are
    new ones; `not_understood` lists by kind and code what the sender sent, the program did not read, and may matter.
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
        for name, highest in (("age", 130), ("acuity", 3)):
            if (value := getattr(self, name)) is not None:
                within(f"record.{name}", value, 0, highest, DataError)
        texts, requirement = self.not_understood, f"be {MOST_NOT_UNDERSTOOD} short texts at most"
        fits = len(texts) <= MOST_NOT_UNDERSTOOD and all(0 < len(text) <= 100 and text.isprintable() for text in texts)
        must(fits, "record.not_understood", requirement, len(texts), "Leave others out.", DataError)


@dataclass(frozen=True)
class StudyImage:
    """A photograph of a study. `doubts` are reasons why its eye or patient may be wrong."""

    photograph: Photograph
    eye: Eye = Eye.UNKNOWN
    field: Field = Field.UNKNOWN
    camera: str = "unknown"
    doubts: tuple[Gap, ...] = ()


@dataclass(frozen=True)
class Study:
    """Photographs of one visit. `patient` is a pseudonym, `acquired` is ISO 8601."""

    id: str
    images: tuple[StudyImage, ...]
    patient: str | None = None
    record: PatientRecord = PatientRecord()
    acquired: str | None = None


@dataclass(frozen=True)
class Graded:
    """The model's output for an eye, calibrated at this site.

    `probabilities` are those of the five grades; `grades` is the set of possible grades (conformal); `referable`,
    `vision_threatening` and `oedema` are probabilities too; `refers` and `is_urgent` are decisions at the operating
    points, None where one is withheld. A photograph without depth cannot confirm oedema.
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
    """Suggestion for an eye. `graded` is None where the model did not run: no photograph of the eye shows a fundus."""

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
    """Suggestion for a study. `model` is the digest of the bundle.

    `months` until the next photograph or visit follow from the site's referral rules, None where undecided.
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
    """A clinician's reading of an eye. `grade` is None exactly where the eye is not gradable, `oedema` where unknown.

    `findings` are others than retinopathy, such as drusen.
    """

    eye: Eye
    gradable: bool
    grade: int | None = None
    oedema: bool | None = None
    treated: bool = False
    findings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reading:
    """A clinician's reading of a study: never changed, and stored also where it agrees with the suggestion.

    `suggestion` is the digest of the suggestion, None where there was none; `seen`: the reader saw it before reading;
    `overrules`: why the reader did not follow it. `photographs` are digests of the photographs read; empty if unknown.
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
