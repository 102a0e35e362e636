"""Receive a clinician's reading of a study, and sign it after a confirmation."""

from datetime import UTC, datetime

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis.web.pages import StudyView, clinic_of, show, study_view
from teledx_fed.diagnosis.web.reading_form import confirmation, differing, problems, reading_of
from teledx_fed.diagnosis.web.rendering import render
from teledx_fed.diagnosis.web.sessions import OwnForm
from teledx_fed.store.values import LoggedIn

router = APIRouter(include_in_schema=False)

SIGN, PRELIMINARY, CHANGE = "yes", "no", "change"
"""Values of the form's button: sign, keep as preliminary, or go back to the choices."""


@router.post("/studies/{study}/reading")
async def read(request: Request, session: OwnForm, study: str) -> Response:
    """Signing takes two requests: the first is answered with what will be signed, the second confirms just that."""
    form = await request.form()
    return await run_in_threadpool(_answer, request, session, study, form)


def _answer(request: Request, session: LoggedIn, study: str, form: FormData) -> Response:
    seen, wish = study_view(request, session, study), form.get("sign")
    if wish not in (SIGN, PRELIMINARY, CHANGE):
        raise HTTPException(422, "Choose whether to sign the reading or to keep it as preliminary.")
    if form.get("version") != seen.version:
        return show(request, session, seen, problems=[_changed(seen)], status=409)
    if wish == CHANGE:
        return show(request, session, seen, form)
    demonstration = wish == SIGN and clinic_of(request).bundle.manifest.demonstration
    if told := ["A demonstration cannot be signed."] if demonstration else problems(form, seen):
        return show(request, session, seen, form, told, status=422)
    if wish == SIGN and form.get("confirmed") != confirmation(form, seen, session):
        return _ask(request, session, seen, form)
    reading = reading_of(form, seen, session, datetime.now(UTC))
    clinic_of(request).store.add_reading(reading, wish == SIGN, len(seen.signed))
    return RedirectResponse("/" if wish == SIGN else f"/studies/{study}", 303)


def _changed(seen: StudyView) -> str:
    """Return the message for a study that another request, or a repeated one, has changed."""
    said = "This study has changed since you opened it, and nothing was added now. Look at it again."
    if not seen.signed:
        return said
    last = seen.signed[-1].reading
    return f"{said} {last.reader} signed a reading of {last.time.astimezone():%d %B %Y, %H:%M}."


def _ask(request: Request, session: LoggedIn, seen: StudyView, form: FormData) -> Response:
    reading = reading_of(form, seen, session, datetime.now(UTC))
    return render(
        request,
        "sign",
        session,
        seen=seen,
        person=clinic_of(request).patients.who(seen.stored.study),
        reading=reading,
        suggested={eye.eye: eye for eye in seen.diagnosis.eyes} if seen.diagnosis else {},
        differing=differing(reading.eyes, seen.diagnosis) if seen.diagnosis else frozenset(),
        unread=[eye for eye in (Eye.RIGHT, Eye.LEFT) if eye not in {each.eye for each in reading.eyes}],
        amended=seen.signed[-1:],
        choices=[(name, value) for name, value in form.multi_items() if name not in ("csrf", "sign", "confirmed")],
        confirmed=confirmation(form, seen, session),
    )
