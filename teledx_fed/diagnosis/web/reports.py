"""A study to take along: PDF, FHIR, JSON; preliminary until somebody signs."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from uuid import UUID, uuid5

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import JSONResponse

from teledx_fed.clinical import Diagnosis, Reading
from teledx_fed.data.dicom_writing import ReportFacts, encapsulated_pdf
from teledx_fed.data.photographs import PhotographFile, laid_over
from teledx_fed.diagnosis import fhir, pdf
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.evidence import map_of, sentence_of
from teledx_fed.diagnosis.results import as_json
from teledx_fed.diagnosis.web.pages import Sight, clinic_of, sight
from teledx_fed.diagnosis.web.sessions import Session
from teledx_fed.records import Eye
from teledx_fed.store.values import StoredImage

router = APIRouter(include_in_schema=False)

RELEASE = version("teledx-fed")


def suggested(request: Request, found: Session, study: str, what: str) -> tuple[Sight, Diagnosis]:
    """A 404 where the suggestion is withheld, or not there; who takes it along is on record."""
    seen = sight(request, found, study)
    if seen.diagnosis is None:
        raise HTTPException(404, "There is no suggestion to report yet.")
    clinic_of(request).store.log_view(study, found.user.name, what)
    return seen, seen.diagnosis


@router.get("/studies/{study}/report.pdf")
def as_pdf(request: Request, found: Session, study: str) -> Response:
    seen, diagnosis = suggested(request, found, study, "report.pdf")
    content = _pdf(clinic_of(request), seen, diagnosis, datetime.now(UTC))
    return Response(content, media_type="application/pdf", headers=_named(study, "pdf"))


@router.get("/studies/{study}/report.dcm")
def as_dicom(request: Request, found: Session, study: str) -> Response:
    """The PDF, encapsulated for an archive; of its patient it knows the pseudonym alone."""
    seen, diagnosis = suggested(request, found, study, "report.dcm")
    now, identity = datetime.now(UTC), UUID(seen.stored.study.id)
    facts = ReportFacts(
        title="Diabetic retinopathy screening",
        created=now,
        study_uid=_uid(identity),
        series_uid=_uid(uuid5(identity, "reports")),
        instance_uid=_uid(uuid5(identity, f"report {now.isoformat()}")),
        patient_id=seen.stored.study.patient or "",
        verified=bool(_signed(seen)),
    )
    content = encapsulated_pdf(_pdf(clinic_of(request), seen, diagnosis, now), facts)
    return Response(content, media_type="application/dicom", headers=_named(study, "dcm"))


@router.get("/studies/{study}/report.fhir.json")
def as_fhir(request: Request, found: Session, study: str) -> JSONResponse:
    seen, diagnosis = suggested(request, found, study, "report.fhir.json")
    signed = _signed(seen)
    last = signed[-1] if signed else None
    content = fhir.bundle(seen.stored.study, diagnosis, last, datetime.now(UTC), RELEASE, signed[:-1])
    return JSONResponse(content, media_type="application/fhir+json", headers=_named(study, "fhir.json"))


@router.get("/studies/{study}/report.json")
def as_plain_json(request: Request, found: Session, study: str) -> JSONResponse:
    seen, diagnosis = suggested(request, found, study, "report.json")
    return JSONResponse(as_json(seen.stored.study, diagnosis), headers=_named(study, "json"))


def _pdf(clinic: Clinic, seen: Sight, diagnosis: Diagnosis, now: datetime) -> bytes:
    signed = _signed(seen)
    last = signed[-1] if signed else None
    shown, guideline = _shown(clinic, seen), clinic.referral.guideline
    return pdf.report(seen.stored.study, diagnosis, last, shown, now, guideline, RELEASE)


def _uid(identity: UUID) -> str:
    """PS3.5 B.2."""
    return f"2.25.{identity.int}"


def _signed(seen: Sight) -> list[Reading]:
    return [one.reading for one in seen.signed]


def _shown(clinic: Clinic, seen: Sight) -> Mapping[Eye, pdf.Shown]:
    """The first photograph of each eye."""
    shown: dict[Eye, pdf.Shown] = {}
    for image in seen.stored.images:
        shown.setdefault(image.eye, _picture(clinic, image))
    return shown


def _picture(clinic: Clinic, image: StoredImage) -> pdf.Shown:
    folder = clinic.store.folder
    photograph, heat = folder / image.path, folder / map_of(image)
    if not heat.exists():
        return pdf.Shown(PhotographFile(photograph).read())
    said = (folder / sentence_of(image)).read_text()
    return pdf.Shown(PhotographFile(photograph).read(), laid_over(photograph, heat), said)


def _named(study: str, suffix: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{study}.{suffix}"'}
