"""Intake of studies as FHIR R4 from portals and record systems; errors are OperationOutcomes."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from teledx_fed.diagnosis.fhir.reading import IgnoredResource, NotUnderstood, read
from teledx_fed.diagnosis.intake import PhotographUpload, StudyUpload
from teledx_fed.diagnosis.study_reports import RELEASE
from teledx_fed.diagnosis.web.api import Sender, StudyState, state
from teledx_fed.diagnosis.web.refusals import refuse
from teledx_fed.diagnosis.web.rendering import clinic_of
from teledx_fed.diagnosis.web.schemas import WITH_BODY, Issue, OperationOutcome, body, reference, refused_in_fhir

router = APIRouter(prefix="/api/v1/fhir", tags=["studies"])

STATED = "2026-12-01"
"""Date of the last change of the CapabilityStatement."""
LARGEST_BUNDLE_MIB = 96


@dataclass(frozen=True)
class FhirStudyState(StudyState):
    """`outcome` has an issue for each resource that was not read, a warning where it may matter."""

    outcome: OperationOutcome = field(kw_only=True)


@router.get("/metadata", include_in_schema=False)
def metadata(request: Request) -> Response:
    """Return the CapabilityStatement."""
    documentation = (
        "POST [base]/studies takes a Bundle (collection, transaction or batch) of one patient: Patient, Condition, "
        "Procedure, Observation, and Media with photographs in content.data. Send the device's token as Authorization: "
        "Bearer, and an Idempotency-Key. Nothing can be read or searched."
    )
    statement = {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": STATED,
        "kind": "instance",
        "software": {"name": "teledx_fed", "version": RELEASE},
        "implementation": {"description": "Studies of fundus photographs", "url": f"{request.base_url}api/v1/fhir"},
        "fhirVersion": "4.0.1",
        "format": ["application/fhir+json"],
        "rest": [{"mode": "server", "documentation": documentation}],
    }
    return JSONResponse(statement, media_type="application/fhir+json")


@router.post(
    "/studies",
    status_code=201,
    operation_id="submit_bundle",
    response_model=FhirStudyState,
    responses=refused_in_fhir(*WITH_BODY),
    openapi_extra=body("application/fhir+json", reference("Bundle")),
)
async def submit_bundle(
    request: Request, sender: Sender, idempotency_key: Annotated[str, Header(min_length=1, max_length=200)]
) -> FhirStudyState | Response:
    """Submit a study as a FHIR Bundle. The response also lists, as `outcome`, resources that were not read."""
    if int(request.headers["content-length"]) > LARGEST_BUNDLE_MIB * 2**20:
        raise HTTPException(413, f"A Bundle must have at most {LARGEST_BUNDLE_MIB} MiB. Send a form.")
    content = await request.body()
    try:
        return await run_in_threadpool(_submit, request, sender.source, idempotency_key, content)
    except NotUnderstood as error:
        return refuse(request, 422, str(error), path=error.path)


def _submit(request: Request, source: str, key: str, content: bytes) -> FhirStudyState:
    bundle = read(content, datetime.now(UTC).date())
    photographs = tuple(PhotographUpload(media.content.data, media.eye, media.field) for media in bundle.photographs)
    submitted = StudyUpload(key, source, photographs, bundle.patient, bundle.record, bundle.acquired)
    submitted_state = vars(state(clinic_of(request).receive(submitted)))
    nothing = Issue(severity="information", code="informational", diagnostics="Every resource was read.")
    issues = [_issue(resource) for resource in bundle.ignored] or [nothing]
    return FhirStudyState(**submitted_state, outcome=OperationOutcome(resourceType="OperationOutcome", issue=issues))


def _issue(ignored: IgnoredResource) -> Issue:
    consequence = " It may matter: a clinician reads the study." if ignored.matters else ""
    return Issue(
        severity="warning" if ignored.matters else "information",
        code="not-supported" if ignored.matters else "informational",
        diagnostics=f"Not read, {ignored.what}: {ignored.why}.{consequence}",
        expression=[ignored.path],
    )
