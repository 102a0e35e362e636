"""Send a signed report to the hospital's archive by C-STORE (PS3.4 Annex B) or STOW-RS (PS3.18 10.5)."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from pynetdicom import AE

from teledx_fed.core.checks import must
from teledx_fed.core.errors import DataError, UnavailableError
from teledx_fed.data.dicom_writing import UNCOMPRESSED, sop_uids
from teledx_fed.diagnosis.signing import ReportStatus
from teledx_fed.diagnosis.study_reports import StudyReport
from teledx_fed.diagnosis.web.settings import ArchiveSettings

SECONDS = 60
SUCCESS, COERCED = 0x0000, 0xB000
FAILED, STORED, INSTANCE, REASON = "00081198", "00081199", "00081155", "00081197"
"""Tags in the DICOM JSON of a STOW-RS response (PS3.18 table 10.5.3-1)."""


class NotSent(UnavailableError):
    """The archive does not have the report."""


@dataclass(frozen=True)
class SentReport:
    """A sent report. `remarks` name identifiers in it that the archive did not give."""

    archive: str
    instance: str
    remarks: tuple[str, ...]


def send(report: StudyReport, archive: ArchiveSettings) -> SentReport:
    """Send a signed report; raise a `DataError` if unsigned, `NotSent` with the archive's reason if refused."""
    is_signed = report.status in (ReportStatus.FINAL, ReportStatus.AMENDED)
    must(
        is_signed,
        "the study",
        "be signed for its report to be sent",
        report.status.value,
        "Sign a reading first.",
        DataError,
    )
    content, _, remarks = report.for_archive()
    kind, instance = sop_uids(content)
    if archive.address:
        _stow(content, instance, archive)
    else:
        _store(content, kind, archive)
    return SentReport(archive.address or f"{archive.title} at {archive.host}:{archive.port}", instance, remarks)


def _store(content: bytes, kind: str, archive: ArchiveSettings) -> None:
    entity = AE(ae_title=archive.calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = SECONDS
    entity.add_requested_context(kind, UNCOMPRESSED)
    association = entity.associate(archive.host, archive.port, ae_title=archive.title)
    if not association.is_established:
        reason = (
            "it rejected the association" if association.is_rejected else "it could not be reached, or takes no PDF"
        )
        raise NotSent(f"{archive.title} at {archive.host}:{archive.port} did not take the report: {reason}.")
    try:
        with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
            Path(file.name).write_bytes(content)
            response = association.send_c_store(file.name)
    finally:
        association.release()
    status = response.get("Status")
    if status not in (SUCCESS, COERCED):
        reason = "it did not answer" if status is None else f"status 0x{status:04X} {response.get('ErrorComment', '')}"
        raise NotSent(f"{archive.title} did not take the report: {reason.strip()}.")


def _stow(content: bytes, instance: str, archive: ArchiveSettings) -> None:
    boundary = uuid4().hex
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Accept": "application/dicom+json",
        **archive.authorization(),
    }
    body = head + content + f"\r\n--{boundary}--\r\n".encode()
    try:
        response = httpx.post(f"{archive.address.rstrip('/')}/studies", content=body, headers=headers, timeout=SECONDS)
    except httpx.HTTPError as error:
        raise NotSent(f"{archive.address} could not be reached: {error}.") from error
    _check(response, instance, archive.address)


def _check(response: httpx.Response, instance: str, address: str) -> None:
    """Raise `NotSent` unless the archive's response lists the report as stored."""
    content: Any = {}
    if "json" in response.headers.get("Content-Type", ""):
        content = response.json()
        content = content[0] if isinstance(content, list) and content else content
    stored = [uid for item in _items(content, STORED) for uid in item.get(INSTANCE, {}).get("Value", [])]
    if response.status_code in (200, 202) and instance in stored:
        return
    reasons = [
        f"0x{reason:04X}" for item in _items(content, FAILED) for reason in item.get(REASON, {}).get("Value", [])
    ]
    failure = f", failure reason {', '.join(reasons)}" if reasons else ""
    raise NotSent(f"{address} did not take the report: HTTP {response.status_code}{failure}.")


def _items(content: Any, tag: str) -> list[dict[str, Any]]:
    return content.get(tag, {}).get("Value", []) if isinstance(content, dict) else []
