"""Resumable uploads: how many bytes of each file have arrived."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import uuid4

from sqlalchemy import func, select, text, update
from sqlalchemy.orm import Session

from teledx_fed.core.checks import must
from teledx_fed.core.errors import DataError, RefusedError
from teledx_fed.store.database import Database
from teledx_fed.store.rows import unknown
from teledx_fed.store.tables import UploadRow
from teledx_fed.store.values import check_text


@dataclass(frozen=True)
class UploadQuota:
    """Limits of a source's uploads in progress: their number, and their total size in bytes."""

    uploads: int
    total: int


class OverQuota(RefusedError):
    """A source exceeds its quota of uploads in progress."""


@dataclass(frozen=True)
class Upload:
    """An upload in progress: `offset` of `length` bytes are in `path`, relative to the image folder."""

    id: str
    source: str
    path: str
    length: int
    offset: int
    expires: datetime


class Uploads:
    """Uploads in progress. Another source's upload, or an expired one, counts as unknown."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database, self._clock = database, clock

    def begin(self, source: str, length: int, lifetime: timedelta, quota: UploadQuota | None = None) -> Upload:
        """Begin an upload of `length` bytes; the caller writes them to `path`, then calls `advance`.

        Raise `OverQuota` if the source would exceed its quota.
        """
        check_text("upload.source", source)
        must(length > 0, "upload.length", "be positive", length, "Send a file with content.", DataError)
        name = uuid4().hex
        upload = Upload(name, source, f"uploads/{name}", length, 0, self._clock() + lifetime)
        with self._database.writing() as session:
            if quota is not None:
                self._check(session, source, length, quota)
            session.add(UploadRow(**vars(upload)))
        return upload

    def _check(self, session: Session, source: str, length: int, quota: UploadQuota) -> None:
        if session.get_bind().dialect.name == "postgresql":  # runs transactions concurrently
            session.execute(text("SELECT pg_advisory_xact_lock(hashtext(:source))"), {"source": source})
        unfinished = (UploadRow.source == source, UploadRow.expires > self._clock())
        counted = select(func.count(), func.coalesce(func.sum(UploadRow.length), 0)).where(*unfinished)
        uploads, total = session.execute(counted).one()
        if uploads >= quota.uploads or total + length > quota.total:
            raise OverQuota(
                f"{source} must have at most {quota.uploads} uploads of {quota.total} bytes in progress, "
                f"got {uploads} of {total} and {length} more. Name them in a study, or delete one."
            )

    def get(self, source: str, upload: str) -> Upload:
        with self._database.reading() as session:
            return _upload(self._row(session, source, upload))

    def advance(self, source: str, upload: str, start: int, end: int) -> Upload:
        """Record that bytes `start` to `end` are written; raise a `DataError` unless the offset is `start`."""
        with self._database.writing() as session:
            row = self._row(session, source, upload)
            within = start < end <= row.length
            must(
                within, "upload.end", f"lie in {start + 1}…{row.length}", end, "Send only the missing bytes.", DataError
            )
            unchanged = (UploadRow.id == upload, UploadRow.offset == start)
            updated = session.scalar(update(UploadRow).where(*unchanged).values(offset=end).returning(UploadRow.id))
            session.refresh(row)
            must(updated is not None, "upload.start", f"be {row.offset}", start, "Continue there.", DataError)
            return _upload(row)

    def end(self, source: str, upload: str) -> None:
        """Delete the record of an upload that became a study or was given up; the caller deletes the file."""
        with self._database.writing() as session:
            session.delete(self._row(session, source, upload))

    def _row(self, session: Session, source: str, upload: str) -> UploadRow:
        row = session.get(UploadRow, upload)
        if row is None or row.source != source or row.expires <= self._clock():
            raise unknown("upload", upload)
        return row


def _upload(row: UploadRow) -> Upload:
    return Upload(row.id, row.source, row.path, row.length, row.offset, row.expires)
