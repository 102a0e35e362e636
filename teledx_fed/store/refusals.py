"""The list of refused photographs, for the clinic's staff. A refused photograph is in no study."""

import hashlib
from collections.abc import Callable
from datetime import datetime

from sqlalchemy import select

from teledx_fed.store.database import Database, insert_once
from teledx_fed.store.rows import existing
from teledx_fed.store.tables import RefusalRow
from teledx_fed.store.values import StoredRefusal, check_text


class Refusals:
    """Refusals. Each is listed until a user removes it from the list (`settle`)."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database, self._clock = database, clock

    def add(self, source: str, patient: str | None, reason: str) -> None:
        """Add a refusal. If it exists, count and list it again: an archive may resend a photograph for days."""
        check_text("refusal.source", source)
        id = hashlib.sha256("\0".join((source, patient or "", reason)).encode("utf-8", "replace")).hexdigest()
        time = self._clock()
        facts = {"source": source, "patient": patient, "reason": reason, "first": time, "last": time, "times": 1}
        with self._database.writing() as session:
            if not insert_once(session, RefusalRow, id=id, **facts):
                row = session.get_one(RefusalRow, id, with_for_update=True)
                row.last, row.times, row.settled, row.settled_by = time, row.times + 1, None, None

    def open(self, limit: int = 100) -> tuple[StoredRefusal, ...]:
        """Return the refusals that are not settled, newest first."""
        query = select(RefusalRow).where(RefusalRow.settled.is_(None)).order_by(RefusalRow.last.desc()).limit(limit)
        with self._database.reading() as session:
            return tuple(
                StoredRefusal(row.id, row.source, row.patient, row.reason, row.first, row.last, row.times)
                for row in session.scalars(query)
            )

    def settle(self, id: str, user: str) -> None:
        with self._database.writing() as session:
            row = existing(session, RefusalRow, "refusal", id)
            row.settled, row.settled_by = self._clock(), user
