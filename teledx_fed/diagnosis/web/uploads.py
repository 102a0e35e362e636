"""Resumable uploads: a device continues an interrupted upload."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Header, HTTPException, Request
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from teledx_fed.core.errors import DataError
from teledx_fed.core.files import make_folder
from teledx_fed.diagnosis.intake import LARGEST_MIB
from teledx_fed.diagnosis.web.api import Sender
from teledx_fed.diagnosis.web.rendering import clinic_of
from teledx_fed.diagnosis.web.schemas import ALWAYS, BINARY, WITH_BODY, body, refused
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.store.uploads import OverQuota, Upload, UploadQuota

router = APIRouter(prefix="/api/v1/uploads", tags=["uploads"])

LIFETIME = timedelta(hours=24)


class Announced(BaseModel):
    length: int = Field(gt=0, le=LARGEST_MIB * 2**20, description="Bytes of the whole file.")


class UploadProgress(BaseModel):
    id: str
    offset: int
    length: int


@router.post("", status_code=201, operation_id="begin_upload", responses=refused(*WITH_BODY, 429))
def begin(request: Request, sender: Sender, announced: Announced) -> UploadProgress:
    """Announce a file; then send its bytes, and name it in `uploads` of a study, within a day."""
    settings: DiagnosisSettings = request.app.state.settings
    quota = UploadQuota(settings.device_uploads, settings.device_upload_mib * 2**20)
    try:
        return _progress(clinic_of(request).store.uploads.begin(sender.source, announced.length, LIFETIME, quota))
    except OverQuota as error:
        raise HTTPException(429, str(error)) from error


@router.get("/{upload}", operation_id="upload_progress", responses=refused(*ALWAYS, 404))
def progress(request: Request, sender: Sender, upload: str) -> UploadProgress:
    """Return how many bytes have arrived: continue from there."""
    return _progress(_upload(request, sender.source, upload))


@router.patch(
    "/{upload}",
    operation_id="continue_upload",
    responses=refused(*WITH_BODY, 404, 409),
    openapi_extra=body("application/octet-stream", BINARY),
)
async def continue_upload(
    request: Request, sender: Sender, upload: str, upload_offset: Annotated[int, Header(ge=0)]
) -> UploadProgress:
    """Send the next bytes as the body; `Upload-Offset` is where they begin. Bytes received before a cut are stored."""
    store = clinic_of(request).store
    upload_row = await run_in_threadpool(_upload, request, sender.source, upload)
    if upload_offset != upload_row.offset:
        raise HTTPException(409, f"Upload-Offset must be {upload_row.offset}, got {upload_offset}. Continue there.")
    file = store.folder / upload_row.path
    make_folder(file.parent)
    end = upload_row.offset
    try:
        with file.open("r+b" if file.exists() else "xb") as target:
            target.seek(upload_row.offset)
            async for piece in request.stream():
                if end + len(piece) > upload_row.length:
                    raise HTTPException(413, f"The file must have the {upload_row.length} bytes that were announced.")
                target.write(piece)
                end += len(piece)
    finally:
        if end > upload_row.offset:
            upload_row = await run_in_threadpool(store.uploads.advance, sender.source, upload, upload_row.offset, end)
    return _progress(upload_row)


@router.delete("/{upload}", status_code=204, operation_id="give_up_upload", responses=refused(*ALWAYS, 404, 411))
def give_up_upload(request: Request, sender: Sender, upload: str) -> None:
    """Delete an upload and its bytes; it no longer counts against the limits."""
    store, upload_row = clinic_of(request).store, _upload(request, sender.source, upload)
    store.uploads.end(sender.source, upload)
    (store.folder / upload_row.path).unlink(missing_ok=True)


def _upload(request: Request, source: str, upload: str) -> Upload:
    try:
        return clinic_of(request).store.uploads.get(source, upload)
    except DataError as error:
        raise HTTPException(404, "This device has begun no such upload, or its time is over. Begin again.") from error


def _progress(upload: Upload) -> UploadProgress:
    return UploadProgress(id=upload.id, offset=upload.offset, length=upload.length)
