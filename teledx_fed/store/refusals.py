"""Refused photographs that are in no study, until a user marks them as dealt with."""

import hashlib
from datetime import datetime

from sqlalchemy.orm import Session

from teledx_fed.store.database import insert_once
from teledx_fed.store.tables import RefusalRow


def add(session: Session, source: str, patient: str | None, reason: str, time: datetime) -> None:
    """An archive tries again for days: the same refusal is one row."""
    id = hashlib.sha256("\0".join((source, patient or "", reason)).encode("utf-8", "replace")).hexdigest()
    facts = {"source": source, "patient": patient, "reason": reason, "first": time, "last": time, "times": 1}
    if not insert_once(session, RefusalRow, id=id, **facts):
        row = session.get_one(RefusalRow, id, with_for_update=True)
        row.last, row.times, row.settled, row.settled_by = time, row.times + 1, None, None
