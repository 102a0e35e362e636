"""HTTP API for devices, apps and portals: submit studies with a token, once for each idempotency key."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, Header, HTTPException, Request, Security, UploadFile
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import TypeAdapter, ValidationError

from teledx_fed.core.clinical import SUGGESTION, Fault, Gap, PatientRecord
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Eye, Field
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.intake import LARGEST_MIB, PhotographUpload, StudyUpload
from teledx_fed.diagnosis.web.rendering import clinic_of
from teledx_fed.diagnosis.web.schemas import ALWAYS, WITH_BODY, Binary, reference, refused
from teledx_fed.store.values import Device, StoredStudy, StudyStatus

router = APIRouter(prefix="/api/v1", tags=["studies"])
BEARER = HTTPBearer(
    scheme_name="device", description="A device's token: python -m sites device add NAME", auto_error=False
)

RECORDS = TypeAdapter(PatientRecord)
RECORD = {"contentMediaType": "application/json", "contentSchema": reference("PatientRecord")}


@dataclass(frozen=True)
class PhotographState:
    """`doubts`: why the eye is unknown, or what contradicts it."""

    eye: Eye
    gradable: bool
    faults: tuple[Fault, ...]
    doubts: tuple[Gap, ...]


@dataclass(frozen=True)
class StudyState:
    """The state of a study for its sender: its status, and whether to take photographs again; never a suggestion."""

    id: str
    status: StudyStatus
    retake: bool
    photographs: tuple[PhotographState, ...]
    note: str = SUGGESTION


def device(request: Request, credentials: Annotated[HTTPAuthorizationCredentials | None, Security(BEARER)]) -> Device:
    device = clinic_of(request).store.access.device(credentials.credentials if credentials else "")
    if device is None:
        raise HTTPException(401, "Send this device's token: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"})
    return device


Sender = Annotated[Device, Depends(device)]


@router.post("/studies", status_code=201, operation_id="submit_study", responses=refused(*WITH_BODY, 404, 409))
def submit(
    request: Request,
    sender: Sender,
    idempotency_key: Annotated[str, Header(min_length=1, max_length=200)],
    eyes: Annotated[list[Eye], Form(description="One for each photograph, in their order.")],
    images: Annotated[list[Binary], File(description="JPEG, PNG, TIFF or DICOM, at most 16.")] = [],  # noqa: B006
    uploads: Annotated[list[str], Form(description="Or ids of finished uploads.")] = [],  # noqa: B006
    fields: Annotated[list[Field], Form(description="One for each photograph, or none at all.")] = [],  # noqa: B006
    patient: Annotated[str, Form(max_length=200, description="The hospital's own number.")] = "",
    record: Annotated[str, Form(description="A JSON object.", json_schema_extra=RECORD)] = "{}",
    acquired: Annotated[str, Form(max_length=40, description="ISO 8601.")] = "",
) -> StudyState:
    """Submit a patient's photographs of both eyes. The same key with the same content is the same study."""
    clinic = clinic_of(request)
    finished = [_finished(clinic, sender, upload) for upload in uploads]
    contents = [*map(content_of, images), *(file.read_bytes() for file in finished)]
    names = [*(image.filename or "" for image in images), *("" for _ in finished)]
    stated_fields = fields or [Field.UNKNOWN] * len(contents)
    if not len(contents) == len(eyes) == len(stated_fields):
        raise HTTPException(
            422, f"eyes and fields must be one for each photograph, got {len(eyes)} and {len(stated_fields)}."
        )
    photographs = tuple(map(PhotographUpload, contents, eyes, stated_fields, names))
    submitted = StudyUpload(
        idempotency_key, sender.source, photographs, patient or None, _record(record), acquired or None
    )
    stored = clinic.receive(submitted)
    for upload, file in zip(uploads, finished, strict=True):
        clinic.store.uploads.end(sender.source, upload)
        file.unlink()
    return state(stored)


@router.get("/studies/{study}", operation_id="study_status", responses=refused(*ALWAYS, 404))
def status(request: Request, sender: Sender, study: str) -> StudyState:
    """Return the status of a study that this device submitted."""
    store = clinic_of(request).store
    try:
        store.submitted(sender.source, study)
    except DataError as error:
        raise HTTPException(404, "This device has submitted no such study.") from error
    return state(store.study(study))


def _finished(clinic: Clinic, sender: Device, upload: str) -> Path:
    try:
        progress = clinic.store.uploads.get(sender.source, upload)
    except DataError as error:
        raise HTTPException(404, f"This device has begun no upload {upload!r}, or its time is over.") from error
    if progress.offset < progress.length:
        raise HTTPException(
            409, f"Upload {upload} must be complete, got {progress.offset} of {progress.length} bytes. Continue it."
        )
    return clinic.store.folder / progress.path


def content_of(image: UploadFile) -> bytes:
    """Return the bytes of an upload; respond 413 before a file above the limit is in memory."""
    content = image.file.read(LARGEST_MIB * 2**20 + 1)
    if len(content) > LARGEST_MIB * 2**20:
        raise HTTPException(413, f"Each image must be at most {LARGEST_MIB} MiB.")
    return content


def _record(text: str) -> PatientRecord:
    try:
        return RECORDS.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where, why = ".".join(map(str, ("record", *first["loc"]))), first["msg"].removeprefix("Value error, ")
        raise HTTPException(422, f"{where}: {why}") from error


def state(stored: StoredStudy) -> StudyState:
    photographs = tuple(
        PhotographState(image.eye, not image.faults, image.faults, image.doubts) for image in stored.images
    )
    retake = any(not photograph.gradable for photograph in photographs)
    return StudyState(stored.entry.id, stored.entry.status, retake, photographs)
