"""Downloads of a study's report, and sending it to the archive; preliminary until a clinician signs."""

from collections.abc import Mapping
from datetime import UTC, datetime

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from teledx_fed.core.checks import must
from teledx_fed.diagnosis import sending
from teledx_fed.diagnosis.results import as_json
from teledx_fed.diagnosis.study_reports import StudyReport
from teledx_fed.diagnosis.web.pages import clinic_of, study_view
from teledx_fed.diagnosis.web.rendering import render
from teledx_fed.diagnosis.web.sessions import CheckedForm, Session
from teledx_fed.diagnosis.web.settings import ArchiveSettings

router = APIRouter(include_in_schema=False)

DICOM = "application/dicom"


def suggested(request: Request, session: Session, study: str, what: str) -> StudyReport:
    """Return the report, and log who downloads it; respond 404 if the suggestion is withheld or missing."""
    view = study_view(request, session, study)
    if view.diagnosis is None:
        raise HTTPException(404, "There is no suggestion to report yet.")
    clinic_of(request).store.views.log(study, session.user.name, what)
    return StudyReport(clinic_of(request), view.stored, view.diagnosis, view.readings)


@router.get("/studies/{study}/report.pdf")
def as_pdf(request: Request, session: Session, study: str) -> Response:
    content = suggested(request, session, study, "report.pdf").as_pdf(datetime.now(UTC))
    return Response(content, media_type="application/pdf", headers=_named(study, "pdf"))


@router.get("/studies/{study}/report.dcm")
def as_dicom(request: Request, session: Session, study: str) -> Response:
    """Return DICOM for the hospital's archive: with the patient's number, in the archive's own study."""
    content, _, _ = suggested(request, session, study, "report.dcm").for_archive()
    return Response(content, media_type=DICOM, headers=_named(study, "dcm"))


@router.get("/studies/{study}/report-pseudonymous.dcm")
def for_outside(request: Request, session: Session, study: str) -> Response:
    content = suggested(request, session, study, "report-pseudonymous.dcm").for_outside(datetime.now(UTC))
    return Response(content, media_type=DICOM, headers=_named(study, "pseudonymous.dcm"))


@router.get("/studies/{study}/report.fhir.json")
def as_fhir(request: Request, session: Session, study: str) -> JSONResponse:
    content = suggested(request, session, study, "report.fhir.json").as_fhir(datetime.now(UTC))
    return JSONResponse(content, media_type="application/fhir+json", headers=_named(study, "fhir.json"))


@router.get("/studies/{study}/report-pseudonymous.fhir.json")
def as_fhir_for_outside(request: Request, session: Session, study: str) -> JSONResponse:
    content = suggested(request, session, study, "report-pseudonymous.fhir.json").as_fhir(
        datetime.now(UTC), outside=True
    )
    return JSONResponse(content, media_type="application/fhir+json", headers=_named(study, "pseudonymous.fhir.json"))


@router.get("/studies/{study}/report.json")
def as_plain_json(request: Request, session: Session, study: str) -> JSONResponse:
    report = suggested(request, session, study, "report.json")
    return JSONResponse(as_json(report.stored.study, report.diagnosis), headers=_named(study, "json"))


@router.post("/studies/{study}/sent", response_class=HTMLResponse)
def send(request: Request, session: CheckedForm, study: str) -> HTMLResponse:
    archive: ArchiveSettings | None = request.app.state.settings.dicom.archive
    must(archive is not None, "dicom.archive", "be set to send reports", "none", "Name it in diagnosis.yaml.")
    assert archive is not None
    report = suggested(request, session, study, "report to the archive")
    try:
        sent_report = sending.send(report, archive)
    except sending.NotSent as error:
        return render(request, "report_sent", session, 502, study=study, sent=None, problem=str(error))
    return render(request, "report_sent", session, study=study, sent=sent_report, problem="")


def _named(study: str, suffix: str) -> Mapping[str, str]:
    return {"Content-Disposition": f'attachment; filename="{study}.{suffix}"'}
