"""The identified store: the patient of each pseudonym, in a separate database."""

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
    """The patient of a pseudonym."""

    pseudonym: str
    number: str
    """The patient's number at the hospital."""
    name: str | None = None
    born: str | None = None
    issuer: str = ""
    """The issuer of the number, if the archive states it. Two issuers may give the same number to two patients."""


@dataclass(frozen=True)
class ArchiveIdentifiers:
    """The archive's identifiers of a study received over DICOM."""

    filing: Filing
    sources: tuple[PhotographUids, ...]


def open_identified(url: str, folder: Path, clock: Callable[[], datetime] = now) -> "IdentifiedStore":
    """Open the identified store. If `url` is empty, it is an SQLite file in `folder`/identified."""
    return IdentifiedStore(url or _default(folder), clock)


class IdentifiedStore:
    """The patient of each pseudonym, and the archive's identifiers of studies."""

    def __init__(self, url: str, clock: Callable[[], datetime] = now) -> None:
        self._clock, self._database = clock, Database(url)
        self._database.upgrade(IDENTIFIED)

    def close(self) -> None:
        self._database.close()

    @property
    def reachable(self) -> bool:
        """Whether the database can be reached."""
        return self._database.reachable

    def register(self, identity: Identity) -> None:
        """Store or update an identity; call this before storing each study of the patient.

        Raise a `ConfigurationError` if the number already has another pseudonym.
        """
        for name in ("pseudonym", "number", "issuer", "name", "born"):
            if value := getattr(identity, name):
                check_text(f"identity.{name}", value)
        with self._database.writing() as session:
            same_number = (IdentityRow.issuer == identity.issuer, IdentityRow.number == identity.number)
            stored_pseudonym = session.scalar(select(IdentityRow.pseudonym).where(*same_number))
            if stored_pseudonym not in (None, identity.pseudonym):
                raise ConfigurationError(
                    "identity.number must have one pseudonym, got a number that already has another."
                    " Use the same key for all pseudonyms of the site."
                )
            row = session.get(IdentityRow, identity.pseudonym)
            stored = {} if row is None else {"name": row.name, "born": row.born}
            new = {name: value for name, value in vars(identity).items() if value is not None}
            session.merge(IdentityRow(**stored | new, seen=self._clock()))

    def identity(self, pseudonym: str) -> Identity | None:
        with self._database.reading() as session:
            row = session.get(IdentityRow, pseudonym)
            return None if row is None else Identity(row.pseudonym, row.number, row.name, row.born, row.issuer)

    def add_archive_identifiers(self, study: str, identifiers: ArchiveIdentifiers) -> None:
        """Store the archive's identifiers of a study; keep those already stored, and add missing ones."""
        with self._database.writing() as session:
            row = session.get(FilingRow, study)
            filing = _completed(FILINGS.validate_json(row.filing), identifiers.filing) if row else identifiers.filing
            session.merge(FilingRow(study=study, filing=to_json(FILINGS, filing), seen=self._clock()))
            session.flush()
            for source in identifiers.sources:
                session.merge(SourceRow(study=study, **vars(source)))

    def archive_identifiers(self, study: str) -> ArchiveIdentifiers | None:
        """Return the archive's identifiers of a study, None if it was not received over DICOM."""
        sources = select(SourceRow).where(SourceRow.study == study).order_by(SourceRow.instance)
        with self._database.reading() as session:
            if (row := session.get(FilingRow, study)) is None:
                return None
            photographs = tuple(
                PhotographUids(source.instance, source.series, source.kind) for source in session.scalars(sources)
            )
            return ArchiveIdentifiers(FILINGS.validate_json(row.filing), photographs)

    def forget(self, before: datetime, keep: frozenset[str], studies: frozenset[str]) -> int:
        """Delete the identities not stored again since `before`, except those in `keep`; return how many.

        Also delete the archive identifiers not stored again since `before`, except those of `studies`. Pass
        `Retention.patients` as `keep` and `Retention.studies` as `studies`.
        """
        with self._database.writing() as session:
            stale = select(FilingRow.study).where(FilingRow.seen < before)
            for study in set(session.scalars(stale)) - studies:
                for table in (SourceRow, FilingRow):
                    session.execute(delete(table).where(table.study == study))
        with self._database.writing() as session:
            old = session.scalars(select(IdentityRow.pseudonym).where(IdentityRow.seen < before)).all()
            deleted = [pseudonym for pseudonym in old if pseudonym not in keep]
            for pseudonym in deleted:
                session.execute(delete(IdentityRow).where(IdentityRow.pseudonym == pseudonym))
            return len(deleted)

    def backup(self, path: Path, recipients: Sequence[str] = ()) -> None:
        backup.write(path, self._database, IDENTIFIED, None, recipients)


def _completed(stored: Filing, other: Filing) -> Filing:
    """Fill the empty items of a filing from another filing, if both are of the same study."""
    if stored.study_uid != other.study_uid:
        return stored
    return replace(stored, **{name: value for name, value in vars(other).items() if not getattr(stored, name)})


def restore_identified(path: Path, url: str, folder: Path, key: Path | None = None) -> IdentifiedStore:
    """Restore a backup of the identified store into an empty database."""
    backup.load(path, url or _default(folder), IDENTIFIED, None, key, folder)
    return open_identified(url, folder)


def _default(folder: Path) -> str:
    return f"sqlite:///{folder.absolute()}/identified/identities.sqlite"
