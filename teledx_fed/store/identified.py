"""The identified store: patients behind pseudonyms, in a separate database."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from pydantic import TypeAdapter
from sqlalchemy import delete, select

from teledx_fed.core.errors import ConfigurationError
from teledx_fed.data.dicom import Filing, PhotographUids
from teledx_fed.store import backup
from teledx_fed.store.database import Database
from teledx_fed.store.identified_tables import FilingRow, IdentityRow, SourceRow
from teledx_fed.store.rows import to_json
from teledx_fed.store.schema import IDENTIFIED
from teledx_fed.store.store import now
from teledx_fed.store.values import check_text

FILINGS = TypeAdapter(Filing)


@dataclass(frozen=True)
class Identity:
    """The patient behind a pseudonym."""

    pseudonym: str
    number: str
    """The hospital's number of the patient."""
    name: str | None = None
    born: str | None = None
    issuer: str = ""
    """The issuer of the number, if the archive states it: the same number of another issuer is another person's."""


@dataclass(frozen=True)
class Filed:
    """The archive's identifiers of a study received over DICOM."""

    filing: Filing
    sources: tuple[PhotographUids, ...]


def open_identified(url: str, folder: Path, clock: Callable[[], datetime] = now) -> "IdentifiedStore":
    """Open the identified store; without a URL, an SQLite file in the folder's `identified`."""
    return IdentifiedStore(url or _default(folder), clock)


class IdentifiedStore:
    """The mapping of pseudonyms to patients, and the archive's identifiers of studies."""

    def __init__(self, url: str, clock: Callable[[], datetime] = now) -> None:
        self._clock, self._database = clock, Database(url)
        self._database.upgrade(IDENTIFIED)

    def close(self) -> None:
        self._database.close()

    @property
    def answers(self) -> bool:
        """Whether the database can be reached."""
        return self._database.answers

    def register(self, identity: Identity) -> None:
        """Store or update an identity, before each study; `ConfigurationError` if its number has another pseudonym."""
        for name in ("pseudonym", "number", "issuer", "name", "born"):
            if value := getattr(identity, name):
                check_text(f"identity.{name}", value)
        with self._database.writing() as session:
            same = (IdentityRow.issuer == identity.issuer, IdentityRow.number == identity.number)
            other = session.scalar(select(IdentityRow.pseudonym).where(*same))
            if other not in (None, identity.pseudonym):
                raise ConfigurationError(
                    "identity.number must belong to one pseudonym, got one that has another. Use the site's one key."
                )
            row = session.get(IdentityRow, identity.pseudonym)
            stored = {} if row is None else {"name": row.name, "born": row.born}
            new = {name: value for name, value in vars(identity).items() if value is not None}
            session.merge(IdentityRow(**stored | new, seen=self._clock()))

    def identity(self, pseudonym: str) -> Identity | None:
        with self._database.reading() as session:
            row = session.get(IdentityRow, pseudonym)
            return None if row is None else Identity(row.pseudonym, row.number, row.name, row.born, row.issuer)

    def file(self, study: str, filed: Filed) -> None:
        """Store the archive's identifiers of a study; keep those already stored, and add missing ones."""
        with self._database.writing() as session:
            row = session.get(FilingRow, study)
            filing = _completed(FILINGS.validate_json(row.filing), filed.filing) if row else filed.filing
            session.merge(FilingRow(study=study, filing=to_json(FILINGS, filing), seen=self._clock()))
            session.flush()
            for source in filed.sources:
                session.merge(SourceRow(study=study, **vars(source)))

    def filed(self, study: str) -> Filed | None:
        """Return the archive's identifiers of a study, None if it was not received over DICOM."""
        sources = select(SourceRow).where(SourceRow.study == study).order_by(SourceRow.instance)
        with self._database.reading() as session:
            if (row := session.get(FilingRow, study)) is None:
                return None
            photographs = tuple(
                PhotographUids(source.instance, source.series, source.kind) for source in session.scalars(sources)
            )
            return Filed(FILINGS.validate_json(row.filing), photographs)

    def forget(self, before: datetime, keep: frozenset[str], studies: frozenset[str]) -> int:
        """Delete old identities except those in `keep`, and old archive identifiers of studies not in `studies`.

        Pass `Retention.patients` and `Retention.studies`. Return how many identities were deleted.
        """
        with self._database.writing() as session:
            stale = select(FilingRow.study).where(FilingRow.seen < before)
            for study in set(session.scalars(stale)) - studies:
                for table in (SourceRow, FilingRow):
                    session.execute(delete(table).where(table.study == study))
        with self._database.writing() as session:
            old = session.scalars(select(IdentityRow.pseudonym).where(IdentityRow.seen < before)).all()
            gone = [pseudonym for pseudonym in old if pseudonym not in keep]
            for pseudonym in gone:
                session.execute(delete(IdentityRow).where(IdentityRow.pseudonym == pseudonym))
            return len(gone)

    def backup(self, path: Path, recipients: Sequence[str] = ()) -> None:
        backup.write(path, self._database, IDENTIFIED, None, recipients)


def _completed(stored: Filing, other: Filing) -> Filing:
    """Fill the empty items of a filing from another one of the same study."""
    if stored.study_uid != other.study_uid:
        return stored
    return replace(stored, **{name: value for name, value in vars(other).items() if not getattr(stored, name)})


def restore_identified(path: Path, url: str, folder: Path, key: Path | None = None) -> IdentifiedStore:
    """Restore a backup of the identified store into an empty database."""
    backup.load(path, url or _default(folder), IDENTIFIED, None, key, folder)
    return open_identified(url, folder)


def _default(folder: Path) -> str:
    return f"sqlite:///{folder.absolute()}/identified/identities.sqlite"
