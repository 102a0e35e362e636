"""Receive a clinician's reading of a study, and sign it after a confirmation."""

from datetime import UTC, datetime

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis.web.pages import StudyView, show, study_view
from teledx_fed.diagnosis.web.reading_form import confirmation, differing, problems, reading_of
from teledx_fed.diagnosis.web.rendering import clinic_of, render
from teledx_fed.diagnosis.web.sessions import CheckedForm
from teledx_fed.store.values import LoggedIn

router = APIRouter(include_in_schema=False)

SIGN, PRELIMINARY, CHANGE = "yes", "no", "change"
"""Values of the form's button: sign, keep as preliminary, or go back to the choices."""


@router.post("/studies/{study}/reading")
async def read(request: Request, session: CheckedForm, study: str) -> Response:
    """Receive a reading. Signing takes two requests: the first shows what will be signed, the second confirms it."""
    form = await request.form()
    return await run_in_threadpool(_receive, request, session, study, form)


def _receive(request: Request, session: LoggedIn, study: str, form: FormData) -> Response:
    view, choice = study_view(request, session, study), form.get("sign")
    if choice not in (SIGN, PRELIMINARY, CHANGE):
        raise HTTPException(422, "Choose whether to sign the reading or to keep it as preliminary.")
    if form.get("version") != view.version:
        return show(request, session, view, problems=[_changed_message(view)], status=409)
    if choice == CHANGE:
        return show(request, session, view, form)
    demonstration = choice == SIGN and clinic_of(request).bundle.manifest.demonstration
    if faults := ["A demonstration cannot be signed."] if demonstration else problems(form, view):
        return show(request, session, view, form, faults, status=422)
    if choice == SIGN and form.get("confirmed") != confirmation(form, view, session):
        return _confirm(request, session, view, form)
    reading = reading_of(form, view, session, datetime.now(UTC))
    clinic_of(request).store.add_reading(reading, choice == SIGN, len(view.signed))
    return RedirectResponse("/" if choice == SIGN else f"/studies/{study}", 303)


def _changed_message(view: StudyView) -> str:
    """Return the message for a study that another request, or a repeated one, has changed."""
    message = "This study has changed since you opened it, and nothing was added now. Look at it again."
    if not view.signed:
        return message
    last = view.signed[-1].reading
    return f"{message} {last.reader} signed a reading of {last.time.astimezone():%d %B %Y, %H:%M}."


def _confirm(request: Request, session: LoggedIn, view: StudyView, form: FormData) -> Response:
    reading = reading_of(form, view, session, datetime.now(UTC))
    return render(
        request,
        "sign",
        session,
        view=view,
        person=clinic_of(request).patients.who(view.stored.study),
        reading=reading,
        suggested={eye.eye: eye for eye in view.diagnosis.eyes} if view.diagnosis else {},
        differing=differing(reading.eyes, view.diagnosis) if view.diagnosis else frozenset(),
        unread=[eye for eye in (Eye.RIGHT, Eye.LEFT) if eye not in {eye_reading.eye for eye_reading in reading.eyes}],
        amended=view.signed[-1:],
        choices=[(name, value) for name, value in form.multi_items() if name not in ("csrf", "sign", "confirmed")],
        confirmed=confirmation(form, view, session),
    )
