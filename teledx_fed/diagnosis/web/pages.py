"""The reader's pages: the worklist, a study, and its photographs with their maps."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.datastructures import FormData

from teledx_fed.core.clinical import Diagnosis, EyeDiagnosis, Reading
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.evidence import MapKind, map_of, sentence_of
from teledx_fed.diagnosis.signing import came_after
from teledx_fed.diagnosis.web.rendering import clinic_of, render
from teledx_fed.diagnosis.web.sessions import CheckedForm, Session
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.store.values import LoggedIn, Role, StoredImage, StoredReading, StoredStudy, Suggestion

router = APIRouter(include_in_schema=False)

SHOWN_EYES = (Eye.RIGHT, Eye.LEFT, Eye.UNKNOWN)
"""Order of the eyes: the right eye on the left, as when facing the patient."""
FINDINGS = ("drusen", "glaucomatous disc", "vein occlusion", "epiretinal membrane", "cataract", "naevus")
"""Findings that a reader can select, besides retinopathy."""
NOTHING_CHOSEN = FormData()
PNG = "image/png"
DIGITS = 12
"""Digits of a digest in the log."""


@dataclass(frozen=True)
class Panel:
    """The part of a study's page about one eye."""

    eye: Eye
    images: tuple[StoredImage, ...]
    diagnosis: EyeDiagnosis | None


@dataclass(frozen=True)
class StudyView:
    """The part of a study that a reader may see now; `suggestion` is None if withheld or missing."""

    stored: StoredStudy
    suggestion: Suggestion | None
    readings: tuple[StoredReading, ...]

    @property
    def panels(self) -> tuple[Panel, ...]:
        diagnoses: Mapping[Eye, EyeDiagnosis] = (
            {eye.eye: eye for eye in self.suggestion.diagnosis.eyes} if self.suggestion else {}
        )
        panels = (
            Panel(eye, tuple(image for image in self.stored.images if image.eye is eye), diagnoses.get(eye))
            for eye in SHOWN_EYES
        )
        return tuple(panel for panel in panels if panel.images)

    @property
    def late(self) -> tuple[Reading, ...]:
        """The readings that lack a photograph of the study."""
        return tuple(stored.reading for stored in self.readings if came_after(self.stored.study, stored.reading))

    @property
    def diagnosis(self) -> Diagnosis | None:
        return self.suggestion.diagnosis if self.suggestion else None

    @property
    def signed(self) -> tuple[StoredReading, ...]:
        return tuple(stored for stored in self.readings if stored.signed)

    @property
    def version(self) -> str:
        """A digest that changes with the photographs, the signed readings and the visible suggestion."""
        images = [(image.digest, image.eye) for image in self.stored.images]
        suggestion = self.suggestion.digest if self.suggestion else None
        content = json.dumps([images, suggestion, [stored.digest for stored in self.signed]])
        return hashlib.sha256(content.encode()).hexdigest()


def study_view(request: Request, session: LoggedIn, study: str) -> StudyView:
    """Return a study as this user may see it; respond 404 if there is none."""
    clinic, settings = clinic_of(request), request.app.state.settings
    stored, readings = _stored_study(clinic, study), clinic.store.readings(study)
    suggestions = clinic.store.suggestions(study)
    return StudyView(
        stored,
        suggestions[-1] if suggestions and not _withheld(settings, session, stored, readings) else None,
        readings,
    )


def _stored_study(clinic: Clinic, study: str) -> StoredStudy:
    try:
        return clinic.store.study(study)
    except DataError as error:
        raise HTTPException(404, "There is no such study.") from error


def _withheld(
    settings: DiagnosisSettings, session: LoggedIn, stored: StoredStudy, readings: tuple[StoredReading, ...]
) -> bool:
    """Return whether to hide the suggestion: until this reader has graded all present photographs."""
    own_readings = [item.reading for item in readings if item.reading.reader == session.user.name]
    return _blinded(settings) and all(came_after(stored.study, reading) for reading in own_readings)


def _blinded(settings: DiagnosisSettings) -> bool:
    """Return whether readers grade a study before they see the suggestion and other readings."""
    return settings.suggestion == "after_own_grade"


@router.get("/", response_class=HTMLResponse)
def worklist(request: Request, session: Session, pseudonym: str = "") -> HTMLResponse:
    """List waiting studies, those signed recently, and those whose patient's pseudonym begins with `pseudonym`."""
    store, blinded = clinic_of(request).store, _blinded(request.app.state.settings)
    return render(
        request,
        "worklist",
        session,
        pseudonym=pseudonym.strip(),
        matching=store.of_patient(pseudonym.strip()) if pseudonym.strip() else (),
        waiting=store.worklist(),
        signed=store.signed(limit=20),
        refused=len(store.refusals.open()),
        blinded=blinded,
    )


@router.get("/refused", response_class=HTMLResponse)
def refused_photographs(request: Request, session: Session) -> HTMLResponse:
    """List refused photographs, which are in no study."""
    return render(request, "refused_photographs", session, refusals=clinic_of(request).store.refusals.open())


@router.post("/refused/{id}/settled")
def settle_refusal(request: Request, session: CheckedForm, id: str) -> Response:
    clinic_of(request).store.refusals.settle(id, session.user.name)
    return RedirectResponse("/refused", 303)


@router.get("/studies/{study}", response_class=HTMLResponse)
def study_page(
    request: Request, session: Session, study: str, kind: Annotated[MapKind, Query(alias="map")] = MapKind.HEAT_MAP
) -> HTMLResponse:
    """Show a study with this kind of map over its photographs; compute missing maps first."""
    view, clinic = study_view(request, session, study), clinic_of(request)
    if view.suggestion is not None and kind is not MapKind.HEAT_MAP:
        clinic.explain(view.stored, kind)
    clinic.store.views.log(study, session.user.name)
    return show(request, session, view, kind=kind)


def show(
    request: Request,
    session: LoggedIn,
    view: StudyView,
    chosen: FormData = NOTHING_CHOSEN,
    problems: Sequence[str] = (),
    kind: MapKind = MapKind.HEAT_MAP,
    status: int = 200,
) -> HTMLResponse:
    """Render a study; the form contains only what the reader has `chosen`. `problems` are shown above it."""
    clinic, study = clinic_of(request), view.stored.study.id
    folder = clinic.store.folder
    return render(
        request,
        "study",
        session,
        status,
        view=view,
        chosen=chosen,
        problems=problems,
        person=clinic.patients.who(view.stored.study),
        previous=clinic.store.previous(study),
        views=clinic.store.views.of_study(study) if session.user.role is Role.ADMIN else (),
        withheld=view.suggestion is None,
        blinded=_blinded(request.app.state.settings),
        findings=FINDINGS,
        archive=request.app.state.settings.dicom.archive,
        shown=kind,
        sentences={image.digest: _sentence(folder / sentence_of(image, kind)) for image in view.stored.images},
    )


@router.get("/studies/{study}/images/{digest}.png")
def photograph(request: Request, session: Session, study: str, digest: str) -> Response:
    clinic = clinic_of(request)
    image = _image(_stored_study(clinic, study), digest)
    return _picture(clinic, session, study, "photograph", digest, clinic.store.folder / image.path)


@router.get("/studies/{study}/maps/{kind}/{digest}.png")
def map_over(request: Request, session: Session, study: str, kind: MapKind, digest: str) -> Response:
    view, folder = study_view(request, session, study), clinic_of(request).store.folder
    file = folder / map_of(_image(view.stored, digest), kind)
    if view.suggestion is None or not file.exists():
        raise HTTPException(404, "This map does not exist.")
    return _picture(clinic_of(request), session, study, kind, digest, file)


def _picture(clinic: Clinic, session: LoggedIn, study: str, kind: str, digest: str, file: Path) -> Response:
    """Return an image and log who views it, unless a logged view of the study's page covers it."""
    what = f"{kind} {digest[:DIGITS]}"
    clinic.store.views.log(study, session.user.name, what, covered_by=("page", what))
    return Response(file.read_bytes(), media_type=PNG)


def _sentence(file: Path) -> str:
    return file.read_text() if file.exists() else ""


def _image(stored: StoredStudy, digest: str) -> StoredImage:
    for image in stored.images:
        if image.digest == digest:
            return image
    raise HTTPException(404, "There is no such photograph.")
