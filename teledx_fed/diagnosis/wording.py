"""Plain English for a study's codes, on the page and in PDF, FHIR and CSV: a sentence, or a phrase within one."""

from collections.abc import Mapping, Sequence

from teledx_fed.core.clinical import GRADE_NAMES as GRADE_NAMES
from teledx_fed.core.clinical import (
    Action,
    Certainty,
    Diabetes,
    EyeDiagnosis,
    EyeReading,
    Fault,
    Gap,
    Graded,
    OutOfScope,
    PatientRecord,
    Reading,
    Reason,
)
from teledx_fed.core.examples import GRADES, Eye, Field
from teledx_fed.diagnosis.evidence import MapKind

OEDEMA = "signs suggesting macular oedema; a photograph without depth cannot confirm it"

EYES = {Eye.RIGHT: "right eye", Eye.LEFT: "left eye", Eye.UNKNOWN: "eye not known"}
FIELDS = {
    Field.MACULA: "centred on the macula",
    Field.DISC: "centred on the optic disc",
    Field.UNKNOWN: "field not known",
}
SEVERITIES = ("no", "mild", "moderate", "severe", "proliferative")
"""Severity of each ICDR grade, 0 to 4."""
FAULTS: Mapping[Reason, str] = {
    Fault.NOT_A_FUNDUS: "the picture does not show a fundus",
    Fault.TOO_DARK: "the photograph is too dark",
    Fault.TOO_BRIGHT: "the photograph is too bright",
    Fault.LOW_CONTRAST: "the photograph has too little contrast",
    Fault.BLURRED: "the photograph is blurred",
    Fault.FIELD_CUT: "part of the field is cut off",
}
OUT_OF_SCOPE: Mapping[Reason, str] = {
    OutOfScope.AGE: "the patient is younger than the intended use of the model allows",
    OutOfScope.PREGNANCY: "the patient is pregnant",
    OutOfScope.NO_DIABETES: "the patient has no diabetes",
    OutOfScope.TREATED: "an eye was treated before, by laser or injection",
    OutOfScope.KNOWN_RETINOPATHY: "the patient has known retinopathy",
    OutOfScope.ACUITY: "visual acuity is poor",
    OutOfScope.SYMPTOMS: "the patient has new symptoms",
    OutOfScope.NOT_UNDERSTOOD: "the sender sent facts about the patient that are not read and may matter",
    OutOfScope.CAMERA: "the model has not seen photographs of this camera",
    OutOfScope.IMAGE_SIZE: "the photograph is smaller than those of this hospital that the model was trained on",
}
GAPS: Mapping[Reason, str] = {
    Gap.EYE_MISSING: "one eye has no photograph",
    Gap.EYE_UNKNOWN: "it is not stated which eye this is",
    Gap.EYE_CONTRADICTED: "the position of the optic disc is that of the other eye",
    Gap.EYE_NAME_BOTH: "the name of the file names both eyes",
    Gap.EYE_NAME_UNCLEAR: "a letter in the name of the file may mean an eye, a grade or an initial",
    Gap.EYE_NAME_OTHER: "the name of the file names the other eye",
    Gap.EYE_STATED_TWICE: "the sender states one eye and the header of the file the other",
    Gap.PHOTOGRAPH_SHARED: "the same photograph also came with another study",
    Gap.BOTH_EYES_ALIKE: "the same photograph came for the other eye, too",
    Gap.NO_MACULA: "no photograph of the eye is centred on the macula",
}
REASONS: Mapping[Reason, str] = {**FAULTS, **OUT_OF_SCOPE, **GAPS}
CERTAINTIES = {
    Certainty.CONFIDENT: "the model is confident",
    Certainty.UNCERTAIN: "the model is uncertain",
    Certainty.UNGRADABLE: "not gradable",
    Certainty.INCOMPLETE: "the study is incomplete",
    Certainty.OUT_OF_SCOPE: "outside the intended use of the model",
}
ACTIONS = {
    Action.RESCREEN: "Photograph again at the next screening",
    Action.RETAKE: "Take the photographs again",
    Action.HUMAN_READ: "A clinician reads the photographs",
    Action.REFER: "Refer to an ophthalmologist",
    Action.URGENT: "Refer to an ophthalmologist urgently",
}
DIABETES = {
    Diabetes.TYPE_1: "type 1 diabetes",
    Diabetes.TYPE_2: "type 2 diabetes",
    Diabetes.OTHER: "another type of diabetes",
    Diabetes.NONE: "no diabetes",
}
KNOWN = {
    "pregnant": {True: "pregnant", False: "not pregnant"},
    "treated": {True: "treated before by laser or injection", False: "not treated before"},
    "known_retinopathy": {True: "known retinopathy", False: "no known retinopathy"},
    "symptoms": {True: "new symptoms", False: "no new symptoms"},
}
"""Phrases for the items of a patient's record that are stated."""
READ_OEDEMA = {True: "macular oedema", False: "no macular oedema", None: "macular oedema cannot be judged"}
"""Phrases for macular oedema in a clinician's reading."""
MAPS = {
    MapKind.HEAT_MAP: "heat map",
    MapKind.INTEGRATED_GRADIENTS: "Integrated Gradients",
    MapKind.SHAP: "SHAP",
}
NO_THRESHOLD = "not decided by the model: this site has too few eyes to set a threshold, so a clinician decides"
UNSIGNED = "Preliminary, not signed by a clinician."
REOPENED = "A photograph came after this study was read. The study is open again and must be read again."
BEFORE_LATE = "before a later photograph came"
SEEN = {True: "The reader saw the suggestion first.", False: "The reader graded before seeing the suggestion."}
DAYS_A_MONTH = 365.25 / 12


def sentence(phrase: str) -> str:
    """End a phrase with a full stop, and begin it with a capital unless it begins with a name such as `record.age`."""
    is_name = "." in phrase.partition(" ")[0]
    return f"{phrase if is_name else phrase[:1].upper() + phrase[1:]}."


def listed(phrases: Sequence[str], last: str = "and") -> str:
    """Join phrases: `a, b and c`."""
    head = ", ".join(phrases[:-1])
    return f"{head} {last} {phrases[-1]}" if head else "".join(phrases)


def reason_list(reasons: Sequence[Reason]) -> str:
    return listed([REASONS[reason] for reason in reasons])


def percent(probability: float) -> str:
    """Format a probability as a whole percentage; 0 % and 100 % only if exact."""
    if 0 < probability < 0.005:
        return "below 1 %"
    return "above 99 %" if 0.995 <= probability < 1 else f"{probability:.0%}".replace("%", " %")


def grade_set(grades: Sequence[int]) -> str:
    """Name the grades that cannot be ruled out, as in `no or mild retinopathy`."""
    if len(grades) == GRADES:
        return "retinopathy of any grade, or none"
    return f"{listed([SEVERITIES[grade] for grade in sorted(grades)], 'or')} retinopathy" if grades else "none named"


def advice(action: Action, months: float | None) -> str:
    """Return the action and its time limit; an interval is never rounded up."""
    return sentence(ACTIONS[action] + ("" if months is None else f", {_interval(months)}"))


def _interval(months: float) -> str:
    days = int(months * DAYS_A_MONTH)
    if days < 1:
        return "today"
    if months >= 1 and months == int(months):
        return f"within {_counted(int(months), 'month')}"
    return f"within {_counted(days // 7, 'week')}" if days >= 7 else f"within {_counted(days, 'day')}"


def _counted(count: int, unit: str) -> str:
    return f"{count} {unit}" if count == 1 else f"{count} {unit}s"


def record_phrases(record: PatientRecord) -> tuple[str, ...]:
    """Return a phrase for each item of a patient's record."""
    return (
        *([] if record.age is None else [f"{record.age:g} years old"]),
        *([] if record.diabetes is None else [DIABETES[record.diabetes]]),
        *([] if record.acuity is None else [f"visual acuity {record.acuity:g}"]),
        *(phrases[getattr(record, item)] for item, phrases in KNOWN.items() if getattr(record, item) is not None),
        *(f"not read: {text}" for text in record.not_understood),
    )


def eye_sentences(eye: EyeDiagnosis) -> tuple[str, ...]:
    """Return the suggestion for an eye in sentences: grade, possible grades, likelihoods, oedema, certainty, action.

    For an ungradable eye, report no grade, only disease above this site's thresholds.
    """
    certainty = sentence(": ".join(filter(None, (CERTAINTIES[eye.certainty], reason_list(eye.reasons)))))
    graded = eye.graded
    if graded is None or eye.grade is None:
        return sentence(EYES[eye.eye]), certainty, *(_disease(graded) if graded else ()), advice(eye.action, None)
    return (
        sentence(f"{EYES[eye.eye]}: most likely {GRADE_NAMES[eye.grade]}"),
        sentence(f"not ruled out: {grade_set(graded.grades)}"),
        sentence(likelihood("referable disease", graded.referable, graded.refers)),
        sentence(likelihood("vision-threatening disease", graded.vision_threatening, graded.is_urgent)),
        *([] if graded.oedema is None else [f"{percent(graded.oedema)} for {OEDEMA}."]),
        certainty,
        advice(eye.action, None),
    )


def _disease(graded: Graded) -> tuple[str, ...]:
    """Return a sentence for each disease whose score reaches this site's threshold."""
    referable = [sentence(likelihood("referable disease", graded.referable, True))] if graded.refers else []
    threat = graded.vision_threatening
    urgent = [sentence(likelihood("vision-threatening disease", threat, True))] if graded.is_urgent else []
    return *referable, *urgent


def likelihood(disease: str, probability: float, decision: bool | None) -> str:
    """State a probability, and on which side of this site's threshold it lies."""
    threshold = {True: "at or above this site's threshold", False: "below this site's threshold", None: NO_THRESHOLD}
    return f"{disease}: {percent(probability)}, {threshold[decision]}"


def reading_sentences(reading: Reading) -> tuple[str, ...]:
    """Return a clinician's reading and management in sentences."""
    why = [f"Suggestion not followed: {reading.overrules}"] if reading.overrules else []
    note = [f"Note: {reading.note}"] if reading.note else []
    return *map(reading_sentence, reading.eyes), advice(reading.urgency, None), *why, *note, SEEN[reading.seen]


def reading_sentence(eye: EyeReading) -> str:
    parts = (grade_name(eye.grade), READ_OEDEMA[eye.oedema], *also(eye))
    return sentence(f"{EYES[eye.eye]}: {', '.join(parts)}")


def grade_name(grade: int | None) -> str:
    return "not gradable" if grade is None else GRADE_NAMES[grade]


def also(eye: EyeReading) -> tuple[str, ...]:
    """Return what a clinician selected besides grade and oedema."""
    return *(["treated before"] if eye.treated else []), *eye.findings
