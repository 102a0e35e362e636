"""Upload page: a logged-in user sends a patient's photographs, with the record that the model's scope needs."""

from collections.abc import Iterable
from typing import Annotated
from uuid import uuid4

from fastapi import APIRouter, Depends, Form, Request, Response, UploadFile
from fastapi.responses import HTMLResponse, RedirectResponse

from teledx_fed.core.clinical import PatientRecord
from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis.intake import RECORD, PhotographUpload, StudyUpload, record_of
from teledx_fed.diagnosis.web.api import content_of
from teledx_fed.diagnosis.web.rendering import clinic_of, render
from teledx_fed.diagnosis.web.sessions import CheckedForm, Session

router = APIRouter(include_in_schema=False)


@router.get("/upload", response_class=HTMLResponse)
def upload_page(request: Request, session: Session) -> HTMLResponse:
    return render(request, "upload", session, key=uuid4().hex)


async def record_in_form(request: Request) -> PatientRecord:
    form = await request.form()
    return record_of({name: form.get(name, "") for name in RECORD})


@router.post("/upload")
def upload(
    request: Request,
    session: CheckedForm,
    record: Annotated[PatientRecord, Depends(record_in_form)],
    key: Annotated[str, Form()],
    right: Annotated[list[UploadFile] | None, Form()] = None,
    left: Annotated[list[UploadFile] | None, Form()] = None,
    files: Annotated[list[UploadFile] | None, Form()] = None,
    patient: Annotated[str, Form()] = "",
) -> Response:
    """Receive a study; `files` state their eye in DICOM or by name."""
    chosen = ((right, Eye.RIGHT), (left, Eye.LEFT), (files, Eye.UNKNOWN))
    uploads = tuple(photograph for files_of_eye, eye in chosen for photograph in _photographs(files_of_eye or (), eye))
    submitted = StudyUpload(key, f"page/{session.user.name}", uploads, patient or None, record)
    stored = clinic_of(request).receive(submitted)
    return RedirectResponse(f"/studies/{stored.study.id}", 303)


def _photographs(files: Iterable[UploadFile], eye: Eye) -> Iterable[PhotographUpload]:
    """Make uploads; skip the empty part that a browser sends if no file is chosen."""
    return (PhotographUpload(content_of(file), eye, name=file.filename or "") for file in files if file.size)
