"""Links for one study: a patient or clinic without a log-in sends photographs once before the link expires."""

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request, UploadFile
from fastapi.responses import HTMLResponse

from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis.intake import PhotographUpload, StudyUpload
from teledx_fed.diagnosis.web.api import content_of
from teledx_fed.diagnosis.web.rendering import clinic_of, render
from teledx_fed.diagnosis.web.request_filter import LINK_NOT_USABLE, tried_link
from teledx_fed.diagnosis.wording import EYES, FAULTS, listed, sentence

router = APIRouter(include_in_schema=False)


@router.get("/link/{token}", response_class=HTMLResponse)
def form(request: Request, token: str) -> HTMLResponse:
    link = clinic_of(request).store.access.link(token)
    if link is None or not link.left:
        raise HTTPException(404, LINK_NOT_USABLE)
    return render(request, "link", retakes=(), left=link.left)


@router.post("/link/{token}", response_class=HTMLResponse)
def send(
    request: Request,
    token: str,
    right: UploadFile | None = None,
    left: UploadFile | None = None,
    anyway: Annotated[str, Form()] = "",
) -> HTMLResponse:
    """List poor or missing photographs before the link is used up; the sender may still send them as they are.

    The last attempt is accepted as it is: a poor photograph is better than none.
    """
    link, clinic = tried_link(request), clinic_of(request)
    files = [(file, eye) for file, eye in ((right, Eye.RIGHT), (left, Eye.LEFT)) if file is not None and file.size]
    photographs = tuple(PhotographUpload(content_of(file), eye, name=file.filename or "") for file, eye in files)
    retakes = [
        sentence(f"{EYES[photograph.eye]}: {listed([FAULTS[fault] for fault in faults])}")
        for photograph in photographs
        if (faults := clinic.photographs.decode(photograph, "photograph").faults)
    ]
    missing = {Eye.RIGHT, Eye.LEFT} - {photograph.eye for photograph in photographs}
    retakes += [f"No photograph of the {EYES[eye]} is chosen." for eye in sorted(missing, reverse=True)]
    if not photographs or (retakes and anyway != "yes" and link.left):
        return render(request, "link", retakes=retakes, left=link.left)
    clinic.receive(StudyUpload(link.id, link.source, photographs), token)
    return render(request, "sent")
