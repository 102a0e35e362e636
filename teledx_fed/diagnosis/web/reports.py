"""Downloads of a study's report, and sending it to the archive; preliminary until a clinician signs."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse

from teledx_fed.core.checks import must
from teledx_fed.diagnosis import sending
from teledx_fed.diagnosis.results import as_json
from teledx_fed.diagnosis.study_reports import StudyReport
from teledx_fed.diagnosis.web.pages import study_view
from teledx_fed.diagnosis.web.rendering import clinic_of, render
from teledx_fed.diagnosis.web.sessions import CheckedForm, Session
from teledx_fed.diagnosis.web.settings import ArchiveSettings

router = APIRouter(include_in_schema=False)

DICOM, FHIR = "application/dicom", "application/fhir+json"


def suggested(request: Request, session: Session, study: str, what: str) -> StudyReport:
    """Return the report, and log who downloads it; respond 404 if the suggestion is withheld or missing."""
    view = study_view(request, session, study)
    if view.diagnosis is None:
        raise HTTPException(404, "There is no suggestion to report yet.")
    clinic_of(request).store.views.log(study, session.user.name, what)
    return StudyReport(clinic_of(request), view.stored, view.diagnosis, view.readings)


Content = Callable[[StudyReport], bytes | Mapping[str, Any]]
DOWNLOADS: Mapping[str, tuple[str, Content]] = {
    "report.pdf": ("application/pdf", lambda report: report.as_pdf(datetime.now(UTC))),
    "report.json": ("application/json", lambda report: as_json(report.stored.study, report.diagnosis)),
    "report.dcm": (DICOM, lambda report: report.for_archive()[0]),
    "report.fhir.json": (FHIR, lambda report: report.as_fhir(datetime.now(UTC))),
    "report-pseudonymous.dcm": (DICOM, lambda report: report.for_outside(datetime.now(UTC))),
    "report-pseudonymous.fhir.json": (FHIR, lambda report: report.as_fhir(datetime.now(UTC), outside=True)),
}
"""Media type and content by the name in the address. Pseudonymous reports are for other institutions."""


def _download(name: str, media_type: str, content: Content) -> Callable[[Request, Session, str], Response]:
    """Return the route of a report."""

    def download(request: Request, session: Session, study: str) -> Response:
        report = content(suggested(request, session, study, name))
        suffix = name.removeprefix("report").replace("-", ".")
        headers = {"Content-Disposition": f'attachment; filename="{study}{suffix}"'}
        if isinstance(report, bytes):
            return Response(report, media_type=media_type, headers=headers)
        return JSONResponse(report, media_type=media_type, headers=headers)

    return download


for _name, _kind in DOWNLOADS.items():
    router.get(f"/studies/{{study}}/{_name}")(_download(_name, *_kind))


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
