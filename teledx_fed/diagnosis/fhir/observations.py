"""FHIR Observations of each eye: the model's suggestion and the clinician's reading."""

from datetime import datetime
from typing import Any

from teledx_fed.core.clinical import EyeDiagnosis, EyeReading, Graded, Reading
from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis import wording
from teledx_fed.diagnosis.fhir.case import Case, Resource, instant, reader_of
from teledx_fed.diagnosis.fhir.codes import (
    ANSWERS,
    BODY_SITES,
    DISORDERS,
    HL7,
    LOINC,
    MACULAR_OEDEMA,
    SEVERITY,
    SNOMED,
    UCUM,
    coding,
    concept,
)
from teledx_fed.diagnosis.signing import ReportStatus


def suggested(case: Case, eye: EyeDiagnosis) -> Resource:
    """Return the model's suggestion for an eye; its status is always preliminary."""
    return case.entry(
        f"suggested {eye.eye}",
        "Observation",
        wording.eye_sentences(eye),
        status=ReportStatus.PRELIMINARY.value,
        **_of_eye(case, eye.eye, case.issued),
        device=case.reference("model"),
        **_suggested_value(eye),
    )


def signed(case: Case, reading: Reading, eye: EyeReading) -> Resource:
    """Return a clinician's reading of an eye."""
    graded = eye.gradable and eye.grade is not None
    return case.entry(
        f"read {eye.eye}",
        "Observation",
        [wording.reading_sentence(eye)],
        status=case.status.value,
        **_of_eye(case, eye.eye, reading.time),
        performer=[reader_of(reading)],
        **({"valueCodeableConcept": _grade(eye.grade or 0)} if graded else _absent("not gradable")),
        **({"component": [_read_oedema(eye.oedema)]} if eye.oedema is not None else {}),
    )


def _of_eye(case: Case, eye: Eye, issued: datetime) -> Resource:
    """Return the elements of each observation of an eye; without a code if unknown, as codes are of a side."""
    coded = {"coding": [coding(LOINC, SEVERITY[eye])]} if eye in SEVERITY else {}
    return {
        "category": [concept(f"{HL7}/observation-category", "imaging")],
        "code": {**coded, "text": f"diabetic retinopathy severity, {wording.EYES[eye]}"},
        "subject": case.reference("patient"),
        **case.taken,
        "issued": instant(issued),
        "bodySite": concept(SNOMED, BODY_SITES[eye], wording.EYES[eye]),
        "note": case.notes,
    }


def _suggested_value(eye: EyeDiagnosis) -> Resource:
    """Return the grade with its probabilities; for an ungradable eye, only the reason."""
    if eye.graded is None or eye.grade is None:
        return _absent(wording.reason_list(eye.reasons) or wording.CERTAINTIES[eye.certainty])
    possible = _component("not ruled out", valueString=wording.grade_set(eye.graded.grades))
    return {"valueCodeableConcept": _grade(eye.grade), "component": [*_probabilities(eye.graded), possible]}


def _probabilities(graded: Graded) -> list[Resource]:
    values = {
        **dict(zip(wording.GRADE_NAMES, graded.probabilities, strict=True)),
        "referable disease": graded.referable,
        "vision-threatening disease": graded.vision_threatening,
        **({} if graded.oedema is None else {wording.OEDEMA: graded.oedema}),
    }
    return [
        _component(
            f"probability of {name}",
            valueQuantity={"value": round(value, 4), "unit": "1", "system": UCUM, "code": "1"},
        )
        for name, value in values.items()
    ]


def _component(name: str, **value: Any) -> Resource:
    return {"code": {"text": name}, **value}


def _read_oedema(oedema: bool) -> Resource:
    return {"code": concept(SNOMED, MACULAR_OEDEMA, "macular oedema"), "valueBoolean": oedema}


def _absent(why: str) -> Resource:
    return {"dataAbsentReason": concept(f"{HL7}/data-absent-reason", "unknown", why)}


def _grade(grade: int) -> Resource:
    disorder = DISORDERS[grade]
    codings = [coding(LOINC, ANSWERS[grade]), *([coding(SNOMED, disorder)] if disorder else [])]
    return {"coding": codings, "text": wording.GRADE_NAMES[grade]}
