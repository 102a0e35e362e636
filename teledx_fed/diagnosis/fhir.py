"""A study as FHIR R4 (4.0.1): plain dicts, since no library checks R4; the tests hold them to its JSON schema."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any
from uuid import UUID, uuid5

from teledx_fed.checks import must
from teledx_fed.clinical import Certainty, Diagnosis, EyeDiagnosis, EyeReading, Graded, Reading, Study
from teledx_fed.diagnosis.signing import Status, came_after, marks, status
from teledx_fed.diagnosis.wording import (
    ACTIONS,
    CERTAINTIES,
    EYES,
    FIELDS,
    GRADE_NAMES,
    OEDEMA,
    REASONS,
    REOPENED,
    UNSIGNED,
    advice,
    decided,
    grade_set,
    listed,
    read,
    sentence,
    told,
)
from teledx_fed.records import Eye

Resource = dict[str, Any]

NAMESPACE = UUID("6f4c6c1e-52f8-5c0b-9d4e-0a5a2f7f3c11")
LOINC, SNOMED, DICOM = "http://loinc.org", "http://snomed.info/sct", "http://dicom.nema.org/resources/ontology/DCM"
SEVERITY = {Eye.LEFT: "71490-7", Eye.RIGHT: "71491-5"}
ANSWERS = ("LA18643-9", "LA18644-7", "LA18645-4", "LA18646-2", "LA18648-8")
"""LOINC's list LL2117-1, by ICDR grade."""
DISORDERS = (None, "312903003", "312904009", "312905005", "59276001")
"""SNOMED CT, by ICDR grade; no code for none is certain."""
MACULAR_OEDEMA = "312912001"
LATERALITY = {Eye.LEFT: "7771000", Eye.RIGHT: "24028007"}
PHOTOGRAPHY = "OP"
UNPRINTABLE = re.compile(r"[^\S \t\r\n]|[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def bundle(
    study: Study,
    diagnosis: Diagnosis,
    reading: Reading | None,
    issued: datetime,
    release: str,
    earlier: Sequence[Reading] = (),
) -> Resource:
    """A collection: equal input gives equal ids and references resolve inside it. `reading` is the latest of all.

    The report's results are the clinician's, once there is a reading; what was suggested stays beside them.
    Only the pseudonym says who the patient is. `issued` has a time zone; `release` names the model for people.
    """
    must(issued.utcoffset() is not None, "issued", "have a time zone", issued, "Give it in UTC.")
    case = _Case(study, diagnosis, reading, issued, status(study, diagnosis, reading, earlier))
    suggested = [_suggested(case, place, eye) for place, eye in enumerate(diagnosis.eyes)]
    signed = [_signed(case, reading, place, eye) for place, eye in enumerate(reading.eyes)] if reading else []
    report = _report(case, signed if reading else suggested)
    provenance = [_made(case, [report, *suggested])]
    provenance += [_confirmed(case, reading, [report, *signed])] if reading else []
    return {
        "resourceType": "Bundle",
        "id": case.id("bundle"),
        "type": "collection",
        "timestamp": _instant(issued),
        "entry": [report, *signed, *suggested, _photographs(case), _model(case, release), _patient(case), *provenance],
    }


@dataclass(frozen=True)
class _Case:
    study: Study
    diagnosis: Diagnosis
    reading: Reading | None
    issued: datetime
    status: Status

    def id(self, name: str) -> str:
        return str(uuid5(NAMESPACE, f"{self.study.id}/{name}"))

    def reference(self, name: str) -> Resource:
        return {"reference": f"urn:uuid:{self.id(name)}"}

    @property
    def taken(self) -> Resource:
        return {} if self.study.acquired is None else {"effectiveDateTime": _date_time(self.study.acquired)}

    def entry(self, name: str, kind: str, lines: Sequence[str], **elements: Any) -> Resource:
        """With `lines` and the marks as what people read."""
        paragraphs = "".join(f"<p>{escape(_plain(line))}</p>" for line in (*lines, *marks(self.diagnosis)))
        text = {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{paragraphs}</div>'}
        resource = {"resourceType": kind, "id": self.id(name), "text": text, **elements}
        return {"fullUrl": f"urn:uuid:{self.id(name)}", "resource": resource}

    @property
    def notes(self) -> list[Resource]:
        return [{"text": mark} for mark in marks(self.diagnosis)]


def _report(case: _Case, results: Sequence[Resource]) -> Resource:
    suggested = [line for eye in case.diagnosis.eyes for line in told(eye)]
    why = [sentence(listed([REASONS[reason] for reason in case.diagnosis.reasons]))] if case.diagnosis.reasons else []
    suggestion = (*suggested, *why, f"Suggested: {advice(case.diagnosis.action, case.diagnosis.months)}")
    signed = decided(case.reading) if case.reading else ()
    late = [REOPENED] if case.reading and came_after(case.study, case.reading) else []
    lines = (*([UNSIGNED] if case.status is Status.PRELIMINARY and not late else late), *signed, *suggestion)
    return case.entry(
        "report",
        "DiagnosticReport",
        lines,
        status=case.status.value,
        code={"text": "Diabetic retinopathy in photographs of the fundus"},
        subject=case.reference("patient"),
        **case.taken,
        issued=_instant(case.issued),
        **({"performer": [_reader(case.reading)]} if case.reading else {}),
        result=_references(results),
        imagingStudy=[case.reference("photographs")],
        conclusion=_plain(" ".join((*lines, *marks(case.diagnosis)))),
    )


def _suggested(case: _Case, place: int, eye: EyeDiagnosis) -> Resource:
    """What the model says of an eye: preliminary for ever."""
    return case.entry(
        f"suggested {place}",
        "Observation",
        told(eye),
        status=Status.PRELIMINARY.value,
        **_of_eye(case, eye.eye, case.issued),
        device=case.reference("model"),
        **_suggested_value(eye),
    )


def _signed(case: _Case, reading: Reading, place: int, eye: EyeReading) -> Resource:
    """What a clinician says of an eye."""
    graded = eye.gradable and eye.grade is not None
    return case.entry(
        f"read {place}",
        "Observation",
        [read(eye)],
        status=case.status.value,
        **_of_eye(case, eye.eye, reading.time),
        performer=[_reader(reading)],
        **({"valueCodeableConcept": _grade(eye.grade or 0)} if graded else _absent("not gradable")),
        **({"component": [_read_oedema(eye.oedema)]} if eye.oedema is not None else {}),
    )


def _of_eye(case: _Case, eye: Eye, issued: datetime) -> Resource:
    """What every observation of an eye says; one whose side is unknown has no code, since all codes are of a side."""
    coding = {"coding": [{"system": LOINC, "code": SEVERITY[eye]}]} if eye in SEVERITY else {}
    return {
        "code": {**coding, "text": f"diabetic retinopathy severity, {EYES[eye]}"},
        "subject": case.reference("patient"),
        **case.taken,
        "issued": _instant(issued),
        "bodySite": {"text": EYES[eye]},
        "note": case.notes,
    }


def _suggested_value(eye: EyeDiagnosis) -> Resource:
    absent = _absent(listed([REASONS[reason] for reason in eye.reasons]) or CERTAINTIES[eye.certainty])
    if eye.graded is None:
        return absent
    value = absent if eye.certainty is Certainty.UNGRADABLE else {"valueCodeableConcept": _grade(eye.graded.grade)}
    possible = _component("not ruled out", valueString=grade_set(eye.graded.grades))
    return {**value, "component": [*_probabilities(eye.graded), possible]}


def _probabilities(graded: Graded) -> list[Resource]:
    values = {
        **dict(zip(GRADE_NAMES, graded.probabilities, strict=True)),
        "referable disease": graded.referable,
        "vision-threatening disease": graded.vision_threatening,
        **({} if graded.oedema is None else {OEDEMA: graded.oedema}),
    }
    return [
        _component(f"probability of {name}", valueQuantity={"value": round(value, 4)}) for name, value in values.items()
    ]


def _component(name: str, **value: Any) -> Resource:
    return {"code": {"text": name}, **value}


def _read_oedema(oedema: bool) -> Resource:
    code = {"coding": [{"system": SNOMED, "code": MACULAR_OEDEMA}], "text": "macular oedema"}
    return {"code": code, "valueBoolean": oedema}


def _absent(why: str) -> Resource:
    return {"dataAbsentReason": {"text": why}}


def _grade(grade: int) -> Resource:
    disorder = DISORDERS[grade]
    codings = [{"system": LOINC, "code": ANSWERS[grade]}]
    codings += [{"system": SNOMED, "code": disorder}] if disorder else []
    return {"coding": codings, "text": GRADE_NAMES[grade]}


def _photographs(case: _Case) -> Resource:
    started = {"started": case.taken["effectiveDateTime"]} if case.taken else {}
    images = case.study.images
    return case.entry(
        "photographs",
        "ImagingStudy",
        [f"{EYES[image.eye]}, {FIELDS[image.field]}" for image in images],
        status="available",
        subject=case.reference("patient"),
        modality=[{"system": DICOM, "code": PHOTOGRAPHY}],
        **started,
        numberOfInstances=len(images),
        note=case.notes,
    )


def _model(case: _Case, release: str) -> Resource:
    return case.entry(
        "model",
        "Device",
        [f"teledx_fed {release}, model {case.diagnosis.model}"],
        status="active",
        deviceName=[{"name": f"teledx_fed {release}", "type": "model-name"}],
        version=[{"value": case.diagnosis.model}],
        note=case.notes,
    )


def _patient(case: _Case) -> Resource:
    known = {} if case.study.patient is None else {"identifier": [{"value": case.study.patient}]}
    return case.entry("patient", "Patient", ["A patient under a pseudonym."], **known)


def _made(case: _Case, targets: Sequence[Resource]) -> Resource:
    return case.entry(
        "made",
        "Provenance",
        ["Suggested by a model."],
        target=_references(targets),
        recorded=_instant(case.issued),
        agent=[{"who": case.reference("model")}],
    )


def _confirmed(case: _Case, reading: Reading, targets: Sequence[Resource]) -> Resource:
    return case.entry(
        "confirmed",
        "Provenance",
        [f"{ACTIONS[reading.urgency]}: read by {reading.reader}."],
        target=_references(targets),
        recorded=_instant(reading.time),
        agent=[{"who": _reader(reading)}],
    )


def _reader(reading: Reading) -> Resource:
    return {"display": _plain(reading.reader)}


def _references(entries: Sequence[Resource]) -> list[Resource]:
    return [{"reference": entry["fullUrl"]} for entry in entries]


def _instant(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _date_time(acquired: str) -> str:
    """The day alone where the time has no zone, as FHIR asks for one."""
    try:
        time = datetime.fromisoformat(acquired)
    except ValueError:
        return acquired[:10]
    return acquired[:10] if time.tzinfo is None else _instant(time)


def _plain(text: str) -> str:
    """Without what XML and FHIR's strings do not allow."""
    return UNPRINTABLE.sub(" ", text).strip() or "–"
