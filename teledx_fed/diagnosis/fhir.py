"""A study as FHIR R4 (4.0.1): plain dicts, since no library checks R4; the tests hold them to its JSON schema."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid5

from teledx_fed.core.checks import must
from teledx_fed.core.clinical import Certainty, Diagnosis, EyeDiagnosis, EyeReading, Graded, Reading, Study
from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis.fhir_codes import (
    ANSWERS,
    BODY_SITES,
    DICOM,
    DISORDERS,
    HL7,
    IMAGING_STUDY,
    LOINC,
    MACULAR_OEDEMA,
    PHOTOGRAPHY,
    SEVERITY,
    SNOMED,
    UCUM,
    URI,
    coding,
    concept,
)
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
from teledx_fed.store.values import Filed

Resource = dict[str, Any]

NAMESPACE = UUID("6f4c6c1e-52f8-5c0b-9d4e-0a5a2f7f3c11")
PSEUDONYMS = f"urn:uuid:{uuid5(NAMESPACE, 'pseudonyms')}"
"""The system of patients' identifiers where a report says the pseudonym alone."""
OBJECTS = f"urn:uuid:{uuid5(NAMESPACE, 'objects')}"
"""The system of our own resources' identifiers. A value that began like a `fullUrl` would be rewritten by servers."""
WITHOUT_IDENTIFIER = ("Provenance",)
UNPRINTABLE = re.compile(r"[^\S \t\r\n]|[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def bundle(
    study: Study,
    diagnosis: Diagnosis,
    reading: Reading | None,
    issued: datetime,
    release: str,
    earlier: Sequence[Reading] = (),
    filed: Filed | None = None,
    pdf: bytes | None = None,
) -> Resource:
    """A transaction: equal input gives equal ids, references resolve inside it, and a server that has the study already
    updates it. `reading` is the latest of all.

    The report's results are the clinician's, once there is a reading; what was suggested stays beside them. `filed`
    says who the patient is and where an archive has the photographs; without it the pseudonym alone does. `pdf` is the
    same report for people. `issued` has a time zone; `release` names the model for people.
    """
    must(issued.utcoffset() is not None, "issued", "have a time zone", issued, "Give it in UTC.")
    case = _Case(study, diagnosis, reading, issued, status(study, diagnosis, reading, earlier), filed)
    suggested = [_suggested(case, eye) for eye in diagnosis.eyes]
    signed = [_signed(case, reading, eye) for eye in reading.eyes] if reading else []
    report = _report(case, signed if reading else suggested, pdf)
    provenance = [_made(case, [report, *suggested])]
    provenance += [_confirmed(case, reading, [report, *signed])] if reading else []
    return {
        "resourceType": "Bundle",
        "id": case.id("bundle"),
        "type": "transaction",
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
    filed: Filed | None

    @property
    def study_uid(self) -> str:
        return self.filed.filing.study_uid if self.filed else f"2.25.{_uuid(self.study.id).int}"

    def id(self, name: str) -> str:
        """The model's is one for all studies."""
        of = f"model/{self.diagnosis.model}" if name == "model" else f"{self.study.id}/{name}"
        return str(uuid5(NAMESPACE, of))

    def reference(self, name: str) -> Resource:
        return {"reference": f"urn:uuid:{self.id(name)}"}

    @property
    def taken(self) -> Resource:
        return {} if self.study.acquired is None else {"effectiveDateTime": _date_time(self.study.acquired)}

    def entry(self, name: str, kind: str, lines: Sequence[str], /, **elements: Any) -> Resource:
        """With `lines` and the marks as what people read."""
        paragraphs = "".join(f"<p>{escape(_plain(line))}</p>" for line in (*lines, *marks(self.diagnosis)))
        text = {"status": "generated", "div": f'<div xmlns="http://www.w3.org/1999/xhtml">{paragraphs}</div>'}
        if kind not in WITHOUT_IDENTIFIER:
            own = {"system": OBJECTS, "value": self.id(name)}
            elements["identifier"] = [*elements.get("identifier", []), own]
        resource = {"resourceType": kind, "text": text, **elements}
        return {"fullUrl": f"urn:uuid:{self.id(name)}", "resource": resource, "request": _request(resource)}

    @property
    def notes(self) -> list[Resource]:
        return [{"text": mark} for mark in marks(self.diagnosis)]


def _request(resource: Resource) -> Resource:
    """What is ours is updated where a server has it by its identifier. The patient's record is the server's own."""
    kind = resource["resourceType"]
    if kind in WITHOUT_IDENTIFIER:
        return {"method": "POST", "url": kind}
    known = resource["identifier"][0 if kind == "Patient" else -1]
    query = f"identifier={quote(known['system'], safe=':/')}%7C{quote(known['value'], safe=':')}"
    if kind == "Patient":
        return {"method": "POST", "url": kind, "ifNoneExist": query}
    return {"method": "PUT", "url": f"{kind}?{query}"}


def _report(case: _Case, results: Sequence[Resource], pdf: bytes | None) -> Resource:
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
        category=[concept(f"{HL7}/v2-0074", "IMG")],
        code=concept(LOINC, IMAGING_STUDY, "Diabetic retinopathy in photographs of the fundus"),
        subject=case.reference("patient"),
        **case.taken,
        issued=_instant(case.issued),
        **({"performer": [_reader(case.reading)]} if case.reading else {}),
        result=_references(results),
        imagingStudy=[case.reference("photographs")],
        conclusion=_plain(" ".join((*lines, *marks(case.diagnosis)))),
        **({} if pdf is None else {"presentedForm": [_attached(case, pdf)]}),
    )


def _attached(case: _Case, pdf: bytes) -> Resource:
    return {
        "contentType": "application/pdf",
        "language": "en",
        "data": base64.b64encode(pdf).decode(),
        "title": "Diabetic retinopathy screening",
        "creation": _instant(case.issued),
    }


def _suggested(case: _Case, eye: EyeDiagnosis) -> Resource:
    """What the model says of an eye: preliminary for ever."""
    return case.entry(
        f"suggested {eye.eye}",
        "Observation",
        told(eye),
        status=Status.PRELIMINARY.value,
        **_of_eye(case, eye.eye, case.issued),
        device=case.reference("model"),
        **_suggested_value(eye),
    )


def _signed(case: _Case, reading: Reading, eye: EyeReading) -> Resource:
    """What a clinician says of an eye."""
    graded = eye.gradable and eye.grade is not None
    return case.entry(
        f"read {eye.eye}",
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
    coded = {"coding": [coding(LOINC, SEVERITY[eye])]} if eye in SEVERITY else {}
    return {
        "category": [concept(f"{HL7}/observation-category", "imaging")],
        "code": {**coded, "text": f"diabetic retinopathy severity, {EYES[eye]}"},
        "subject": case.reference("patient"),
        **case.taken,
        "issued": _instant(issued),
        "bodySite": concept(SNOMED, BODY_SITES[eye], EYES[eye]),
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
    return {"coding": codings, "text": GRADE_NAMES[grade]}


def _photographs(case: _Case) -> Resource:
    started = {"started": case.taken["effectiveDateTime"]} if case.taken else {}
    images = case.study.images
    return case.entry(
        "photographs",
        "ImagingStudy",
        [f"{EYES[image.eye]}, {FIELDS[image.field]}" for image in images],
        identifier=_of_study(case),
        status="available",
        subject=case.reference("patient"),
        modality=[coding(DICOM, PHOTOGRAPHY)],
        **started,
        numberOfInstances=len(images),
        note=case.notes,
        **_series(case),
    )


def _of_study(case: _Case) -> list[Resource]:
    identifiers: list[Resource] = [{"system": "urn:dicom:uid", "value": f"urn:oid:{case.study_uid}"}]
    if case.filed is not None and (accession := case.filed.filing.accession_number):
        system = f"urn:uuid:{uuid5(NAMESPACE, f'accession numbers of {case.filed.filing.issuer}')}"
        kind = concept(f"{HL7}/v2-0203", "ACSN")
        identifiers.append({"type": kind, "system": system, "value": _plain(accession)})
    return identifiers


def _series(case: _Case) -> Resource:
    """As the archive has them."""
    series: dict[str, list[Resource]] = {}
    for source in case.filed.sources if case.filed else ():
        instance = {"uid": source.instance, "sopClass": {"system": URI, "code": f"urn:oid:{source.kind}"}}
        series.setdefault(source.series, []).append(instance)
    modality = coding(DICOM, PHOTOGRAPHY)
    made = [{"uid": uid, "modality": modality, "instance": several} for uid, several in series.items() if uid]
    return {"series": made} if made else {}


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
    if case.filed is not None and case.filed.filing.patient_id:
        return _known_patient(case, case.filed)
    pseudonym = case.study.patient
    known = {} if pseudonym is None else {"identifier": [{"system": PSEUDONYMS, "value": pseudonym}]}
    return case.entry("patient", "Patient", ["A patient under a pseudonym."], **known)


def _known_patient(case: _Case, filed: Filed) -> Resource:
    """By the hospital's own number, in the system of who issued it."""
    filing = filed.filing
    system = filing.issuer if ":" in filing.issuer else f"urn:uuid:{uuid5(NAMESPACE, f'numbers of {filing.issuer}')}"
    number = {"type": concept(f"{HL7}/v2-0203", "MR"), "system": system, "value": filing.patient_id}
    assigner = {"assigner": {"display": _plain(filing.issuer)}} if filing.issuer else {}
    name = " ".join(filing.patient_name.replace("^", " ").split())
    named = {"name": [{"text": _plain(name)}]} if name else {}
    return case.entry("patient", "Patient", ["A patient."], identifier=[{**number, **assigner}], **named)


def _made(case: _Case, targets: Sequence[Resource]) -> Resource:
    return case.entry(
        "made",
        "Provenance",
        ["Suggested by a model."],
        target=_references(targets),
        recorded=_instant(case.issued),
        agent=[{"type": concept(f"{HL7}/provenance-participant-type", "author"), "who": case.reference("model")}],
    )


def _confirmed(case: _Case, reading: Reading, targets: Sequence[Resource]) -> Resource:
    return case.entry(
        "confirmed",
        "Provenance",
        [f"{ACTIONS[reading.urgency]}: read by {reading.reader}."],
        target=_references(targets),
        recorded=_instant(reading.time),
        agent=[{"type": concept(f"{HL7}/provenance-participant-type", "author"), "who": _reader(reading)}],
    )


def _reader(reading: Reading) -> Resource:
    return {"display": _plain(reading.reader)}


def _references(entries: Sequence[Resource]) -> list[Resource]:
    return [{"reference": entry["fullUrl"]} for entry in entries]


def _uuid(study: str) -> UUID:
    """Its id, where that is one."""
    try:
        return UUID(study)
    except ValueError:
        return uuid5(NAMESPACE, study)


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
