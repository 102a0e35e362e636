"""Studies as portals and record systems send them: FHIR R4. What is wrong comes back as an OperationOutcome."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool

from teledx_fed.diagnosis.clinic import Photograph, Submitted
from teledx_fed.diagnosis.fhir_reading import NotUnderstood, read
from teledx_fed.diagnosis.web.api import Sender, StudyState, clinic_of, state
from teledx_fed.diagnosis.web.refusals import refuse
from teledx_fed.diagnosis.web.schemas import WITH_BODY, body, reference, refused_in_fhir

router = APIRouter(prefix="/api/v1/fhir", tags=["studies"])

LARGEST_BUNDLE_MIB = 96


@router.post(
    "/studies",
    status_code=201,
    operation_id="submit_bundle",
    response_model=StudyState,
    responses=refused_in_fhir(*WITH_BODY),
    openapi_extra=body("application/fhir+json", reference("Bundle")),
)
async def submit_bundle(
    request: Request, sender: Sender, idempotency_key: Annotated[str, Header(min_length=1, max_length=200)]
) -> StudyState | Response:
    """The same as a study that is sent as a form, and the same answer."""
    if int(request.headers["content-length"]) > LARGEST_BUNDLE_MIB * 2**20:
        raise HTTPException(413, f"A Bundle must have at most {LARGEST_BUNDLE_MIB} MiB. Send a form.")
    content = await request.body()
    try:
        return await run_in_threadpool(_submit, request, sender.source, idempotency_key, content)
    except NotUnderstood as error:
        return refuse(request, 422, str(error), path=error.path)


def _submit(request: Request, source: str, key: str, content: bytes) -> StudyState:
    told = read(content, datetime.now(UTC).date())
    photographs = tuple(Photograph(media.content.data, media.eye, media.field) for media in told.photographs)
    return state(
        clinic_of(request).receive(Submitted(key, source, photographs, told.patient, told.record, told.acquired))
    )
