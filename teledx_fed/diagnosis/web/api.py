"""What devices, apps and portals submit to: by token, once whatever is sent twice, and resumable."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, File, Form, Header, HTTPException, Request, UploadFile
from pydantic import TypeAdapter, ValidationError

from teledx_fed.clinical import SUGGESTION, Fault, PatientRecord
from teledx_fed.diagnosis.clinic import Clinic, Submitted, Upload
from teledx_fed.diagnosis.intake import LARGEST_MIB
from teledx_fed.records import Eye, Field
from teledx_fed.store.values import Device, StoredStudy

router = APIRouter(prefix="/api/v1", tags=["studies"])

RECORDS = TypeAdapter(PatientRecord)
UPLOAD_HOURS = 24


@dataclass(frozen=True)
class PhotographState:
    eye: Eye
    gradable: bool
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class StudyState:
    """What a submitter is told: whether to take photographs again, and how far the study is; no suggestion."""

    id: str
    status: str
    retake: bool
    photographs: tuple[PhotographState, ...]
    note: str = SUGGESTION


def device(request: Request, authorization: Annotated[str, Header()] = "") -> Device:
    scheme, _, token = authorization.partition(" ")
    found = _clinic(request).store.access.device(token) if scheme.casefold() == "bearer" else None
    if found is None:
        raise HTTPException(401, "Send this device's token: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"})
    return found


Sender = Annotated[Device, Depends(device)]


@router.post("/studies", status_code=201)
def submit(
    request: Request,
    sender: Sender,
    idempotency_key: Annotated[str, Header(min_length=1, max_length=200)],
    images: Annotated[list[UploadFile], File(description="JPEG, PNG, TIFF or DICOM, at most 16.")],
    eyes: Annotated[list[Eye], Form(description="One for each image, in their order.")],
    fields: Annotated[list[Field] | None, Form(description="One for each image, or none at all.")] = None,
    patient: Annotated[str | None, Form(max_length=200)] = None,
    record: Annotated[str, Form(description="JSON: age, pregnant, diabetes, treated, known_retinopathy, …")] = "{}",
    acquired: Annotated[str | None, Form(max_length=40)] = None,
) -> StudyState:
    """A patient's photographs of both eyes. The same key and content again is the same study."""
    stated = fields or [Field.UNKNOWN] * len(images)
    if not len(images) == len(eyes) == len(stated):
        raise HTTPException(422, f"eyes and fields must be one for each image, got {len(eyes)} and {len(stated)}.")
    uploads = tuple(Upload(_content(image), eye, field) for image, eye, field in zip(images, eyes, stated, strict=True))
    submitted = Submitted(idempotency_key, sender.source, uploads, patient, _record(record), acquired)
    return _state(_clinic(request).receive(submitted))


@router.get("/studies/{study}")
def status(request: Request, sender: Sender, study: str) -> StudyState:
    """Of a study that this device submitted."""
    store = _clinic(request).store
    try:
        store.submitted(sender.source, study)
    except ValueError as error:
        raise HTTPException(404, "This device has submitted no such study.") from error
    return _state(store.study(study))


def _clinic(request: Request) -> Clinic:
    clinic: Clinic = request.app.state.clinic
    return clinic


def _content(image: UploadFile) -> bytes:
    content = image.file.read(LARGEST_MIB * 2**20 + 1)
    if len(content) > LARGEST_MIB * 2**20:
        raise HTTPException(413, f"Each image must be at most {LARGEST_MIB} MiB.")
    return content


def _record(text: str) -> PatientRecord:
    try:
        return RECORDS.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        raise HTTPException(422, f"record.{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _state(stored: StoredStudy) -> StudyState:
    photographs = tuple(PhotographState(image.eye, not image.faults, image.faults) for image in stored.images)
    retake = any(not photograph.gradable for photograph in photographs)
    return StudyState(stored.entry.id, stored.entry.status, retake, photographs)
