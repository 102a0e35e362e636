"""Counts of the contents of a site's store, without names."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, ColumnElement, Subquery, Text, cast, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from teledx_fed.store.tables import ReadingRow, RefusalRow, StudyRow, SuggestionRow, UploadRow
from teledx_fed.store.values import StudyStatus

STORED_JSON = JSON().with_variant(Text(), "sqlite")
"""Type to extract JSON values: SQLite extracts from text, PostgreSQL from JSON."""
NO_REASON = '"overrules":""'
"""Part of the JSON of a reading without a reason. In text that a person typed, the quotes are escaped.

The query searches the text, because PostgreSQL refuses to parse JSON that contains a NUL.
"""


@dataclass(frozen=True)
class Census:
    """Counts of the present contents, without deleted studies.

    `studies`: by kind of source and status. `waiting`: studies not signed, by action. `suggestions`: by action and
    certainty. `readings`: by whether they are signed and whether they overrule the suggestion. `refused`: refusals not
    settled, by kind of source.
    """

    studies: Mapping[tuple[str, str], int]
    waiting: Mapping[str, int]
    oldest_waiting: datetime | None
    suggestions: Mapping[tuple[str, str], int]
    readings: Mapping[tuple[bool, bool], int]
    refused: Mapping[str, int]
    uploads: int


def take(session: Session) -> Census:
    waits = StudyRow.status != StudyStatus.SIGNED
    studies: Counter[tuple[str, str]] = Counter()
    refused: Counter[str] = Counter()
    for source, count in session.execute(_grouped(RefusalRow.source).where(RefusalRow.settled.is_(None))):
        refused[_source_kind(source)] += count
    for source, status, count in session.execute(_grouped(StudyRow.source, StudyRow.status)):
        studies[_source_kind(source), status.value] += count
    waiting = session.execute(_grouped(StudyRow.action).where(waits))
    action, certainty = (_json_item(SuggestionRow.diagnosis, name) for name in ("action", "certainty"))
    suggestions = session.execute(_counted(select(action, certainty).subquery()))
    overrules = ~ReadingRow.reading.contains(NO_REASON, autoescape=True)
    readings = session.execute(_counted(select(ReadingRow.signed.is_not(None), overrules).subquery()))
    return Census(
        studies=studies,
        waiting={action.value if action else "none": count for action, count in waiting},
        oldest_waiting=session.execute(select(func.min(StudyRow.received)).where(waits)).scalar_one(),
        suggestions={(action, certainty): count for action, certainty, count in suggestions},
        readings={(bool(signed), bool(overruled)): count for signed, overruled, count in readings},
        refused=refused,
        uploads=session.execute(select(func.count()).select_from(UploadRow)).scalar_one(),
    )


def _source_kind(source: str) -> str:
    """Return the kind of a source, without the person, device or link."""
    return source.partition("/")[0]


def _grouped(*columns: InstrumentedAttribute[Any]) -> Any:
    return select(*columns, func.count()).group_by(*columns)


def _counted(rows: Subquery) -> Any:
    """Count the rows of a subquery by its columns, whose names let both databases group by them."""
    return select(*rows.c, func.count()).group_by(*rows.c)


def _json_item(column: InstrumentedAttribute[str], name: str) -> ColumnElement[str]:
    return cast(column, STORED_JSON)[name].as_string()
