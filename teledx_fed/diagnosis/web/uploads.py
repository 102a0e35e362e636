"""Resumable uploads: a device continues an interrupted upload."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from teledx_fed.core.errors import DataError
from teledx_fed.core.files import make_folder
from teledx_fed.diagnosis.intake import LARGEST_MIB
from teledx_fed.diagnosis.web.api import Sender, clinic_of
from teledx_fed.diagnosis.web.schemas import ALWAYS, BINARY, WITH_BODY, body, refused
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.store.uploads import OverQuota, Upload, UploadQuota

router = APIRouter(prefix="/api/v1/uploads", tags=["uploads"])

LIFETIME = timedelta(hours=24)


class Announced(BaseModel):
    length: int = Field(gt=0, le=LARGEST_MIB * 2**20, description="Bytes of the whole file.")


class Progress(BaseModel):
    id: str
    offset: int
    length: int


@router.post("", status_code=201, operation_id="begin_upload", responses=refused(*WITH_BODY, 429))
def begin(request: Request, sender: Sender, announced: Announced) -> Progress:
    """Announce a file; then send its bytes, and name it in `uploads` of a study, within a day."""
    settings: DiagnosisSettings = request.app.state.settings
    quota = UploadQuota(settings.device_uploads, settings.device_upload_mib * 2**20)
    try:
        return _progress(clinic_of(request).store.uploads.begin(sender.source, announced.length, LIFETIME, quota))
    except OverQuota as error:
        raise HTTPException(429, str(error)) from error


@router.get("/{upload}", operation_id="upload_progress", responses=refused(*ALWAYS, 404))
def progress(request: Request, sender: Sender, upload: str) -> Progress:
    """How many bytes are here: where to go on."""
    return _progress(_known(request, sender.source, upload))


@router.patch(
    "/{upload}",
    operation_id="continue_upload",
    responses=refused(*WITH_BODY, 404, 409),
    openapi_extra=body("application/octet-stream", BINARY),
)
async def go_on(request: Request, sender: Sender, upload: str, upload_offset: Annotated[int, Header(ge=0)]) -> Progress:
    """The next bytes as the body, `Upload-Offset` saying where they begin. What came before a cut is kept."""
    store = clinic_of(request).store
    known = await run_in_threadpool(_known, request, sender.source, upload)
    if upload_offset != known.offset:
        raise HTTPException(409, f"Upload-Offset must be {known.offset}, got {upload_offset}. Go on from there.")
    file = store.folder / known.path
    make_folder(file.parent)
    end = known.offset
    try:
        with file.open("r+b" if file.exists() else "xb") as target:
            target.seek(known.offset)
            async for piece in request.stream():
                if end + len(piece) > known.length:
                    raise HTTPException(413, f"The file must have the {known.length} bytes that were announced.")
                target.write(piece)
                end += len(piece)
    finally:
        if end > known.offset:
            known = await run_in_threadpool(store.uploads.advance, sender.source, upload, known.offset, end)
    return _progress(known)


@router.delete("/{upload}", status_code=204, operation_id="give_up_upload", responses=refused(*ALWAYS, 404, 411))
def give_up(request: Request, sender: Sender, upload: str) -> None:
    """What came of it is deleted, and counts no more."""
    store, known = clinic_of(request).store, _known(request, sender.source, upload)
    store.uploads.end(sender.source, upload)
    (store.folder / known.path).unlink(missing_ok=True)


def _known(request: Request, source: str, upload: str) -> Upload:
    try:
        return clinic_of(request).store.uploads.get(source, upload)
    except DataError as error:
        raise HTTPException(404, "This device has begun no such upload, or its time is over. Begin again.") from error


def _progress(upload: Upload) -> Progress:
    return Progress(id=upload.id, offset=upload.offset, length=upload.length)
