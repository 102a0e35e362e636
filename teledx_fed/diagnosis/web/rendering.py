"""Rendering of Jinja templates for the pages."""

from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from teledx_fed.core.clinical import DEMONSTRATION, SUGGESTION, Action
from teledx_fed.core.examples import GRADES, Eye
from teledx_fed.diagnosis import wording
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.store.values import LoggedIn, Role

TEMPLATES = Path(__file__).parent / "templates"


def clinic_of(request: Request) -> Clinic:
    clinic: Clinic = request.app.state.clinic
    return clinic


def render(
    request: Request, name: str, session: LoggedIn | None = None, status: int = 200, **values: Any
) -> HTMLResponse:
    clinic = clinic_of(request)
    text = (
        _environment()
        .get_template(f"{name}.html.jinja")
        .render(
            session=session,
            csrf=session.csrf if session else "",
            suggestion_mark=SUGGESTION,
            demonstration_mark=DEMONSTRATION if clinic.bundle.manifest.demonstration else "",
            **values,
        )
    )
    return HTMLResponse(text, status)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["phrase"] = lambda code, phrases: phrases[code]
    grades = {str(grade): f"{grade} {wording.GRADE_NAMES[grade]}" for grade in range(GRADES)}
    environment.globals |= {"words": wording, "Eye": Eye, "Action": Action, "Role": Role}
    environment.globals["grade_choices"] = {**grades, "ungradable": "not gradable"}
    return environment
