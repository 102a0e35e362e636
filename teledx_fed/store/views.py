"""The log of who viewed which study, append-only."""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta

from sqlalchemy import select

from teledx_fed.store.database import Database
from teledx_fed.store.rows import existing, next_number, study_row
from teledx_fed.store.tables import UserRow, ViewRow
from teledx_fed.store.values import LoggedView, check_text

SAME_VIEW = timedelta(minutes=10)
"""A browser requests the images of a page after the page: for this time, they are the same view."""


class Views:
    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database, self._clock = database, clock

    def log(self, study: str, user: str, what: str = "page", covered_by: Collection[str] = ()) -> None:
        """Log a view, unless the user had a view in `covered_by` of this study in the last ten minutes."""
        check_text("view.what", what)
        time = self._clock()
        with self._database.writing() as session:
            study_row(session, study, lock=True)
            existing(session, UserRow, "user", user)
            recent = (ViewRow.study == study, ViewRow.user == user, ViewRow.time > time - SAME_VIEW)
            covering = select(ViewRow.number).where(*recent, ViewRow.what.in_(covered_by)).limit(1)
            if session.scalars(covering).first() is None:
                number = next_number(session, ViewRow, study)
                session.add(ViewRow(study=study, number=number, user=user, what=what, time=time))

    def of_study(self, study: str) -> tuple[LoggedView, ...]:
        """Return the views, oldest first."""
        query = select(ViewRow).where(ViewRow.study == study).order_by(ViewRow.number)
        with self._database.reading() as session:
            study_row(session, study)
            return tuple(LoggedView(row.study, row.user, row.what, row.time) for row in session.scalars(query))
