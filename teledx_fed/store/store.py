"""The site's store: each method is one transaction and returns values, not rows."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Select, case, select, true

from teledx_fed.core.clinical import Action, Diagnosis, Reading
from teledx_fed.core.examples import Eye
from teledx_fed.core.files import make_folder
from teledx_fed.store import backup, census, readings, rows, studies
from teledx_fed.store.access import Access
from teledx_fed.store.census import Census
from teledx_fed.store.database import Database
from teledx_fed.store.refusals import Refusals
from teledx_fed.store.retention import Retention
from teledx_fed.store.schema import SITE
from teledx_fed.store.tables import (
    ImageRow,
    ReadingRow,
    StudyRow,
    SuggestionRow,
)
from teledx_fed.store.uploads import Uploads
from teledx_fed.store.values import (
    Arrival,
    StoredImage,
    StoredReading,
    StoredStudy,
    StudyEntry,
    StudyStatus,
    Suggestion,
    TrainingReading,
)
from teledx_fed.store.views import Views

Clock = Callable[[], datetime]


def now() -> datetime:
    return datetime.now(UTC)


def open_store(url: str, folder: Path, clock: Clock = now) -> "Store":
    """Open the store with images in the folder's `images`; without a URL, use an SQLite file beside them."""
    return Store(url or f"sqlite:///{folder.absolute()}/site.sqlite", folder / "images", clock)


class Store:
    """The database at `url`, and `folder` with its images.

    A `DataError` names a value that is unknown or invalid. `access`: users, devices and links. `uploads`: uploads in
    progress. `refusals`: refused photographs. `views`: who viewed what. `retention`: deletion.
    """

    def __init__(self, url: str, folder: Path, clock: Clock = now) -> None:
        self.folder, self._clock = folder, clock
        self._database = Database(url)
        self._database.upgrade(SITE)
        self.access = Access(self._database, clock)
        self.uploads = Uploads(self._database, clock)
        self.refusals = Refusals(self._database, clock)
        self.views = Views(self._database, clock)
        self.retention = Retention(self._database, folder, clock)
        make_folder(folder)

    def close(self) -> None:
        self._database.close()

    @property
    def reachable(self) -> bool:
        """Whether the database can be reached."""
        return self._database.reachable

    def add_study(
        self,
        arrival: Arrival,
        link: str | None = None,
        diagnosis: Diagnosis | None = None,
        derivatives: Sequence[str] = (),
    ) -> StoredStudy:
        """Add a study, whose images are already in the folder; for a stored key of the source, return its study.

        `link` is the token of a one-time link, which this study uses up. `diagnosis` is the suggestion; `derivatives`
        are files made from the study. Raise a `DataError` if the key has other content, or if a file is missing or
        another study's; a `RefusedError` if the link is used, expired or another's.
        """
        with self._database.writing() as session:
            row, is_new = studies.add(session, arrival, link, self.folder, self._clock())
            if is_new and diagnosis is not None:
                readings.add_suggestion(session, row.id, diagnosis, self._clock())
            for path in derivatives if is_new else ():
                studies.add_derivative(session, row.id, path)
            return rows.stored_study(row, self.folder)

    def find(self, source: str, key: str) -> StoredStudy | None:
        """Return the study that this source sent under this key."""
        with self._database.reading() as session:
            row = session.scalars(select(StudyRow).filter_by(source=source, key=key)).one_or_none()
            return None if row is None else rows.stored_study(row, self.folder)

    def grow_study(
        self, before: StoredStudy, images: Sequence[StoredImage], diagnosis: Diagnosis, derivatives: Sequence[str]
    ) -> StoredStudy | None:
        """Add `images` to the study, with the suggestion for all its photographs.

        Return None, without a change, if the photographs of the study differ from those of `before`. Raise a
        `DataError` if the study already has a photograph.
        """
        with self._database.writing() as session:
            row = rows.study_row(session, before.study.id, lock=True)
            if rows.stored_study(row, self.folder).images != before.images:
                return None
            row = studies.grow(session, before.study.id, tuple(images), self.folder)
            readings.add_suggestion(session, row.id, diagnosis, self._clock())
            for path in derivatives:
                studies.add_derivative(session, row.id, path)
            return rows.stored_study(row, self.folder)

    def study(self, study: str) -> StoredStudy:
        with self._database.reading() as session:
            return rows.stored_study(rows.study_row(session, study), self.folder)

    def submitted(self, source: str, study: str) -> StudyEntry:
        """Return a study for its sender; another sender's study counts as unknown."""
        with self._database.reading() as session:
            if (row := session.get(StudyRow, study)) is None or row.source != source:
                raise rows.unknown("study", study)
            return rows.entry(row)

    def worklist(self, limit: int = 100, offset: int = 0) -> tuple[StudyEntry, ...]:
        """Return the studies that are not signed: urgent ones first, then the oldest."""
        urgent = case((StudyRow.action == Action.URGENT, 0), else_=1)
        query = select(StudyRow).where(StudyRow.status != StudyStatus.SIGNED)
        return self._entries(query.order_by(urgent, StudyRow.received, StudyRow.id).limit(limit).offset(offset))

    def signed(self, limit: int = 100, offset: int = 0) -> tuple[StudyEntry, ...]:
        """Return the signed studies, newest first."""
        query = select(StudyRow).where(StudyRow.status == StudyStatus.SIGNED)
        return self._entries(query.order_by(StudyRow.received.desc(), StudyRow.id).limit(limit).offset(offset))

    def of_patient(self, pseudonym: str, limit: int = 100) -> tuple[StudyEntry, ...]:
        """Return the studies of patients whose pseudonym begins with these characters, newest first."""
        query = select(StudyRow).where(StudyRow.patient.startswith(pseudonym, autoescape=True))
        return self._entries(query.order_by(StudyRow.received.desc(), StudyRow.id).limit(limit))

    def _entries(self, query: Select[StudyRow]) -> tuple[StudyEntry, ...]:
        with self._database.reading() as session:
            return tuple(rows.entry(row) for row in session.scalars(query))

    def previous(self, study: str) -> tuple[StudyEntry, ...]:
        """Return earlier studies of the same patient, newest first."""
        with self._database.reading() as session:
            row = rows.study_row(session, study)
            if row.patient is None:
                return ()
            query = select(StudyRow).where(StudyRow.patient == row.patient, StudyRow.received < row.received)
            return tuple(rows.entry(other) for other in session.scalars(query.order_by(StudyRow.received.desc())))

    def shared(self, digests: Collection[str], patient: str | None) -> frozenset[str]:
        """Return the digests of photographs that are also in studies of other or unknown patients."""
        joined = select(ImageRow.digest).join(StudyRow, StudyRow.id == ImageRow.study)
        query = joined.where(ImageRow.digest.in_(digests))
        others = StudyRow.patient.is_distinct_from(patient) if patient else true()
        with self._database.reading() as session:
            return frozenset(session.scalars(query.where(others)))

    def set_eye(self, study: str, digest: str, eye: Eye) -> None:
        """Set the eye that a person states for a photograph; raise a `DataError` once the study is read."""
        with self._database.writing() as session:
            studies.set_eye(session, study, digest, eye)

    def add_derivative(self, study: str, path: str) -> None:
        """Record a file in the image folder that was made from the study and is deleted with it."""
        with self._database.writing() as session:
            rows.study_row(session, study, lock=True)
            studies.add_derivative(session, study, path)

    def add_suggestion(self, study: str, diagnosis: Diagnosis) -> Suggestion:
        with self._database.writing() as session:
            return rows.suggestion(readings.add_suggestion(session, study, diagnosis, self._clock()))

    def suggestions(self, study: str) -> tuple[Suggestion, ...]:
        """Return the suggestions, oldest first; the last one is valid."""
        query = select(SuggestionRow).where(SuggestionRow.study == study).order_by(SuggestionRow.number)
        with self._database.reading() as session:
            rows.study_row(session, study)
            return tuple(rows.suggestion(row) for row in session.scalars(query))

    def add_reading(self, reading: Reading, sign: bool, signed_count: int | None = None) -> StoredReading:
        """Add a reading. A signed one is final; a later signed one amends it.

        `signed_count` is how many signed readings the reader saw, None if that is not to be checked.

        Raise a `DataError` if a demonstration is signed, if the eyes or photographs are not the study's, if the reader
        is unknown or disabled, if the study has no such suggestion, or if another was signed in between.
        """
        with self._database.writing() as session:
            return rows.reading(readings.add_reading(session, reading, sign, signed_count, self._clock()))

    def readings(self, study: str) -> tuple[StoredReading, ...]:
        """Return the readings, oldest first; the last signed one is valid."""
        query = select(ReadingRow).where(ReadingRow.study == study).order_by(ReadingRow.number)
        with self._database.reading() as session:
            rows.study_row(session, study)
            return tuple(rows.reading(row) for row in session.scalars(query))

    def readings_for_training(self) -> tuple[TrainingReading, ...]:
        """Return photographs without faults of gradable eyes, with the last signed reading of each study."""
        with self._database.reading() as session:
            return tuple(readings.training_examples(session, self.folder))

    def backup(self, path: Path, recipients: Sequence[str] = ()) -> tuple[str, ...]:
        """Back up database and images to one archive; return the paths of missing images.

        With `recipients` (age public keys), the archive is encrypted for them.
        """
        missing = backup.write(path, self._database, SITE, self.folder, recipients)
        self._backed_up.touch(0o600)
        return missing

    @property
    def last_backup(self) -> datetime | None:
        """Time of the last complete backup."""
        file = self._backed_up
        return datetime.fromtimestamp(file.stat().st_mtime, UTC) if file.exists() else None

    @property
    def _backed_up(self) -> Path:
        return self.folder.parent / "last-backup"

    def census(self) -> Census:
        with self._database.reading() as session:
            return census.take(session)


def restore(path: Path, url: str, folder: Path, clock: Clock = now, key: Path | None = None) -> Store:
    """Restore a backup into an empty database and folder, with the names that `open_store` uses.

    Sessions are not restored. Raise an `IntegrityError` if the archive is damaged or newer than this version.
    """
    address = url or f"sqlite:///{folder.absolute()}/site.sqlite"
    backup.load(path, address, SITE, folder / "images", key, folder)
    return open_store(url, folder, clock)
