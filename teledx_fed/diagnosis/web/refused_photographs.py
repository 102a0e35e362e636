"""The list of refused photographs, which are in no study, for users of the page to deal with."""

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from teledx_fed.diagnosis.web.pages import clinic_of
from teledx_fed.diagnosis.web.rendering import render
from teledx_fed.diagnosis.web.sessions import OwnForm, Session

HERE = "/refused"

router = APIRouter(prefix=HERE, include_in_schema=False)


@router.get("", response_class=HTMLResponse)
def listed(request: Request, found: Session) -> HTMLResponse:
    return render(request, "refused_photographs", found, refusals=clinic_of(request).store.refusals())


@router.post("/{id}/settled")
def settle(request: Request, found: OwnForm, id: str) -> Response:
    clinic_of(request).store.settle_refusal(id, found.user.name)
    return RedirectResponse(HERE, 303)
