"""Reading form: it has no defaults, so the reader chooses every answer."""

from collections.abc import Iterator
from datetime import UTC, datetime

from starlette.datastructures import FormData

from teledx_fed.core.clinical import Action, Diagnosis, EyeReading, Reading
from teledx_fed.core.examples import GRADES, Eye
from teledx_fed.diagnosis.web.pages import FINDINGS, StudyView
from teledx_fed.diagnosis.wording import EYES, sentence
from teledx_fed.store.rows import READINGS, digest_of, to_json
from teledx_fed.store.values import LoggedIn

UNGRADABLE = "ungradable"
GRADE = {**{str(grade): grade for grade in range(GRADES)}, UNGRADABLE: None}
OEDEMA = {"no": False, "yes": True, "unknown": None}
MANAGEMENT = {action.value: action for action in Action}
LONGEST_TEXT = 4000


def problems(form: FormData, view: StudyView) -> tuple[str, ...]:
    """Return a sentence for each missing or invalid answer; none if the form is valid for `reading_of`."""
    open_choices = tuple(_open_choices(form, view))
    return open_choices or tuple(_text_problems(form, view))


def _open_choices(form: FormData, view: StudyView) -> Iterator[str]:
    for eye in (panel.eye for panel in view.panels):
        if form.get(f"{eye}_grade") not in GRADE:
            yield sentence(f"{EYES[eye]}: choose a grade, or that it is not gradable")
        if form.get(f"{eye}_oedema") not in OEDEMA:
            yield sentence(f"{EYES[eye]}: choose whether there is macular oedema, or that you cannot say")
    if form.get("urgency") not in MANAGEMENT:
        yield "Choose the management."


def _text_problems(form: FormData, view: StudyView) -> Iterator[str]:
    for name, label in (("overrules", "The reason"), ("note", "The note")):
        if (length := len(text(form, name))) > LONGEST_TEXT:
            yield f"{label} must have at most {LONGEST_TEXT} characters, got {length}. Shorten it."
    eyes, urgency = _eyes(form, view), MANAGEMENT[str(form["urgency"])]
    if view.diagnosis and differs(eyes, urgency, view.diagnosis) and not text(form, "overrules"):
        yield "State why you do not follow the suggestion."


def reading_of(form: FormData, view: StudyView, session: LoggedIn, now: datetime) -> Reading:
    """Make a reading from a form without problems."""
    return Reading(
        study=view.stored.study.id,
        reader=session.user.name,
        time=now,
        eyes=_eyes(form, view),
        urgency=MANAGEMENT[str(form["urgency"])],
        suggestion=view.suggestion.digest if view.suggestion else None,
        seen=view.suggestion is not None,
        overrules=text(form, "overrules"),
        note=text(form, "note"),
        photographs=tuple(image.digest for image in view.stored.images),
    )


def confirmation(form: FormData, view: StudyView, session: LoggedIn) -> str:
    """Return the digest of what a reader confirms: their choices, and the version of the study on the page."""
    timeless = reading_of(form, view, session, datetime.fromtimestamp(0, UTC))
    return digest_of(view.version + to_json(READINGS, timeless))


def differs(eyes: tuple[EyeReading, ...], urgency: Action, diagnosis: Diagnosis) -> bool:
    """Return whether a reading differs from the suggestion, in management or in an eye's grade."""
    return urgency is not diagnosis.action or bool(differing(eyes, diagnosis))


def differing(eyes: tuple[EyeReading, ...], diagnosis: Diagnosis) -> frozenset[Eye]:
    """Return the eyes whose grade differs from the suggested grade; skip eyes without one."""
    suggested = {eye.eye: eye.grade for eye in diagnosis.eyes if eye.grade is not None}
    return frozenset(eye.eye for eye in eyes if suggested.get(eye.eye, eye.grade) != eye.grade)


def text(form: FormData, name: str) -> str:
    """Return a text field, with one character for each line break, as browsers count."""
    return str(form.get(name, "")).replace("\r\n", "\n").strip()


def _eyes(form: FormData, view: StudyView) -> tuple[EyeReading, ...]:
    return tuple(_eye(form, panel.eye) for panel in view.panels)


def _eye(form: FormData, eye: Eye) -> EyeReading:
    grade, ticked = GRADE[str(form[f"{eye}_grade"])], form.getlist(f"{eye}_findings")
    return EyeReading(
        eye=eye,
        gradable=grade is not None,
        grade=grade,
        oedema=OEDEMA[str(form[f"{eye}_oedema"])],
        treated=form.get(f"{eye}_treated") == "yes",
        findings=tuple(finding for finding in FINDINGS if finding in ticked),
    )
