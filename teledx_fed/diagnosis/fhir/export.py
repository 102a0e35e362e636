"""Export of a study as FHIR R4 (4.0.1), in plain dicts: no library checks R4, so tests check the JSON schema."""

import base64
from collections.abc import Sequence
from datetime import datetime
from uuid import uuid5

from teledx_fed.core.checks import must
from teledx_fed.core.clinical import Diagnosis, Reading, Study
from teledx_fed.diagnosis import wording
from teledx_fed.diagnosis.fhir.case import (
    NAMESPACE,
    PSEUDONYMS,
    Case,
    Resource,
    instant,
    plain,
    reader_of,
    references,
)
from teledx_fed.diagnosis.fhir.codes import DICOM, HL7, IMAGING_STUDY, LOINC, PHOTOGRAPHY, URI, coding, concept
from teledx_fed.diagnosis.fhir.observations import signed, suggested
from teledx_fed.diagnosis.signing import ReportStatus, came_after, marks, status
from teledx_fed.store.identified import ArchiveIdentifiers


def bundle(
    study: Study,
    diagnosis: Diagnosis,
    reading: Reading | None,
    issued: datetime,
    release: str,
    earlier: Sequence[Reading] = (),
    filed: ArchiveIdentifiers | None = None,
    pdf: bytes | None = None,
) -> Resource:
    """Return a transaction Bundle. Equal input gives equal ids, so a server that has the study updates it.

    `reading` is the latest. With a reading, the report's results are the clinician's, and the Bundle also has the
    suggestions. `filed` has the archive's identifiers of patient and photographs; without it the Bundle has the
    pseudonym. `pdf` is the same report for people. `issued` has a time zone. `release` is the program's version.
    """
    must(issued.utcoffset() is not None, "issued", "have a time zone", issued, "Give it in UTC.")
    case = Case(study, diagnosis, reading, issued, status(study, diagnosis, reading, earlier), filed)
    suggestions = [suggested(case, eye) for eye in diagnosis.eyes]
    readings = [signed(case, reading, eye) for eye in reading.eyes] if reading else []
    report = _report(case, readings if reading else suggestions, pdf)
    about = [_photographs(case), _model(case, release), _patient(case)]
    provenance = [_suggested_by(case, [report, *suggestions])]
    provenance += [_read_by(case, reading, [report, *readings])] if reading else []
    return {
        "resourceType": "Bundle",
        "id": case.id("bundle"),
        "type": "transaction",
        "timestamp": instant(issued),
        "entry": [report, *readings, *suggestions, *about, *provenance],
    }


def _report(case: Case, results: Sequence[Resource], pdf: bytes | None) -> Resource:
    eyes = [line for eye in case.diagnosis.eyes for line in wording.eye_sentences(eye)]
    reasons = wording.reason_list(case.diagnosis.reasons)
    why = [wording.sentence(reasons)] if reasons else []
    suggestion = (*eyes, *why, f"Suggested: {wording.advice(case.diagnosis.action, case.diagnosis.months)}")
    decision = wording.reading_sentences(case.reading) if case.reading else ()
    late = [wording.REOPENED] if case.reading and came_after(case.study, case.reading) else []
    unsigned = [wording.UNSIGNED] if case.status is ReportStatus.PRELIMINARY and not late else late
    lines = (*unsigned, *decision, *suggestion)
    return case.entry(
        "report",
        "DiagnosticReport",
        lines,
        status=case.status.value,
        category=[concept(f"{HL7}/v2-0074", "IMG")],
        code=concept(LOINC, IMAGING_STUDY, "Diabetic retinopathy in photographs of the fundus"),
        subject=case.reference("patient"),
        **case.taken,
        issued=instant(case.issued),
        **({"performer": [reader_of(case.reading)]} if case.reading else {}),
        result=references(results),
        imagingStudy=[case.reference("photographs")],
        conclusion=plain(" ".join((*lines, *marks(case.diagnosis)))),
        **({} if pdf is None else {"presentedForm": [_attached(case, pdf)]}),
    )


def _attached(case: Case, pdf: bytes) -> Resource:
    return {
        "contentType": "application/pdf",
        "language": "en",
        "data": base64.b64encode(pdf).decode(),
        "title": "Diabetic retinopathy screening",
        "creation": instant(case.issued),
    }


def _photographs(case: Case) -> Resource:
    started = {"started": case.taken["effectiveDateTime"]} if case.taken else {}
    images = case.study.images
    return case.entry(
        "photographs",
        "ImagingStudy",
        [f"{wording.EYES[image.eye]}, {wording.FIELDS[image.field]}" for image in images],
        identifier=_of_study(case),
        status="available",
        subject=case.reference("patient"),
        modality=[coding(DICOM, PHOTOGRAPHY)],
        **started,
        numberOfInstances=len(images),
        note=case.notes,
        **_series(case),
    )


def _of_study(case: Case) -> list[Resource]:
    identifiers: list[Resource] = [{"system": "urn:dicom:uid", "value": f"urn:oid:{case.study_uid}"}]
    if case.filed is not None and (accession := case.filed.filing.accession_number):
        system = f"urn:uuid:{uuid5(NAMESPACE, f'accession numbers of {case.filed.filing.issuer}')}"
        kind = concept(f"{HL7}/v2-0203", "ACSN")
        identifiers.append({"type": kind, "system": system, "value": plain(accession)})
    return identifiers


def _series(case: Case) -> Resource:
    """Return the series and instances in the archive."""
    series: dict[str, list[Resource]] = {}
    for source in case.filed.sources if case.filed else ():
        instance = {"uid": source.instance, "sopClass": {"system": URI, "code": f"urn:oid:{source.kind}"}}
        series.setdefault(source.series, []).append(instance)
    modality = coding(DICOM, PHOTOGRAPHY)
    elements = [{"uid": uid, "modality": modality, "instance": several} for uid, several in series.items() if uid]
    return {"series": elements} if elements else {}


def _model(case: Case, release: str) -> Resource:
    return case.entry(
        "model",
        "Device",
        [f"teledx_fed {release}, model {case.diagnosis.model}"],
        status="active",
        deviceName=[{"name": f"teledx_fed {release}", "type": "model-name"}],
        version=[{"value": case.diagnosis.model}],
        note=case.notes,
    )


def _patient(case: Case) -> Resource:
    if case.filed is not None and case.filed.filing.patient_id:
        return _known_patient(case, case.filed)
    pseudonym = case.study.patient
    elements = {} if pseudonym is None else {"identifier": [{"system": PSEUDONYMS, "value": pseudonym}]}
    return case.entry("patient", "Patient", ["A patient under a pseudonym."], **elements)


def _known_patient(case: Case, filed: ArchiveIdentifiers) -> Resource:
    """Return a Patient with the hospital's number, in the system of its issuer."""
    filing = filed.filing
    system = filing.issuer if ":" in filing.issuer else f"urn:uuid:{uuid5(NAMESPACE, f'numbers of {filing.issuer}')}"
    number = {"type": concept(f"{HL7}/v2-0203", "MR"), "system": system, "value": filing.patient_id}
    assigner = {"assigner": {"display": plain(filing.issuer)}} if filing.issuer else {}
    name = " ".join(filing.patient_name.replace("^", " ").split())
    elements = {"name": [{"text": plain(name)}]} if name else {}
    return case.entry("patient", "Patient", ["A patient."], identifier=[{**number, **assigner}], **elements)


def _suggested_by(case: Case, targets: Sequence[Resource]) -> Resource:
    return case.entry(
        "made",
        "Provenance",
        ["Suggested by a model."],
        target=references(targets),
        recorded=instant(case.issued),
        agent=[{"type": concept(f"{HL7}/provenance-participant-type", "author"), "who": case.reference("model")}],
    )


def _read_by(case: Case, reading: Reading, targets: Sequence[Resource]) -> Resource:
    return case.entry(
        "confirmed",
        "Provenance",
        [f"{wording.ACTIONS[reading.urgency]}: read by {reading.reader}."],
        target=references(targets),
        recorded=instant(reading.time),
        agent=[{"type": concept(f"{HL7}/provenance-participant-type", "author"), "who": reader_of(reading)}],
    )
