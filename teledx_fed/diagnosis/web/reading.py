"""A clinician agrees, or says what else they see; signed, it is final."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TypeVar

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData

from teledx_fed.clinical import Action, Diagnosis, EyeReading, Reading
from teledx_fed.diagnosis.web.pages import FINDINGS, Sight, clinic_of, sight
from teledx_fed.diagnosis.web.sessions import OwnForm
from teledx_fed.records import GRADES, Eye
from teledx_fed.store.values import LoggedIn

router = APIRouter(include_in_schema=False)

OEDEMA = {"": None, "yes": True, "no": False}
LONGEST_NOTE = 4000
Chosen = TypeVar("Chosen")


@router.post("/studies/{study}/reading")
async def read(request: Request, found: OwnForm, study: str) -> Response:
    form = await request.form()
    seen = await run_in_threadpool(sight, request, found, study)
    reading = reading_of(form, seen, found, datetime.now(UTC))
    sign = form.get("sign") == "yes"
    await run_in_threadpool(clinic_of(request).store.add_reading, reading, sign)
    return RedirectResponse("/" if sign else f"/studies/{study}", 303)


def reading_of(form: FormData, seen: Sight, found: LoggedIn, now: datetime) -> Reading:
    """A 422 says what is missing: a grade of a gradable eye, or why a suggestion that was seen is not followed."""
    eyes = tuple(_eye(form, panel.eye) for panel in seen.panels)
    urgency = _chosen(form, "urgency", {action.value: action for action in Action})
    overrules = _text(form, "overrules")
    if seen.diagnosis and not overrules and differs(eyes, urgency, seen.diagnosis):
        raise HTTPException(422, "Say why you do not follow the suggestion.")
    return Reading(
        study=seen.stored.study.id,
        reader=found.user.name,
        time=now,
        eyes=eyes,
        urgency=urgency,
        suggestion=seen.suggestion.digest if seen.suggestion else None,
        seen=seen.suggestion is not None,
        overrules=overrules,
        note=_text(form, "note"),
    )


def differs(eyes: tuple[EyeReading, ...], urgency: Action, diagnosis: Diagnosis) -> bool:
    """From what was suggested, in what is done or in a grade."""
    said = {eye.eye: eye.graded.grade for eye in diagnosis.eyes if eye.graded}
    graded = {eye.eye: eye.grade for eye in eyes if eye.gradable}
    return urgency is not diagnosis.action or any(said.get(eye, grade) != grade for eye, grade in graded.items())


def _eye(form: FormData, eye: Eye) -> EyeReading:
    gradable = form.get(f"{eye}_gradable") == "yes"
    grades = {str(grade): grade for grade in range(GRADES)}
    return EyeReading(
        eye=eye,
        gradable=gradable,
        grade=_chosen(form, f"{eye}_grade", grades) if gradable else None,
        oedema=_chosen(form, f"{eye}_oedema", OEDEMA),
        treated=form.get(f"{eye}_treated") == "yes",
        findings=tuple(finding for finding in FINDINGS if finding in form.getlist(f"{eye}_findings")),
    )


def _chosen(form: FormData, name: str, choices: Mapping[str, Chosen]) -> Chosen:
    value = str(form.get(name, ""))
    if value not in choices:
        raise HTTPException(422, f"Choose {name.replace('_', ' ')}.")
    return choices[value]


def _text(form: FormData, name: str) -> str:
    return str(form.get(name, "")).strip()[:LONGEST_NOTE]
