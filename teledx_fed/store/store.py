"""The site's store: each method is one transaction and returns values, not rows."""

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import case, select, true
from sqlalchemy.orm import Session

from teledx_fed.core.clinical import Action, Diagnosis, Gap, Reading
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Eye
from teledx_fed.core.files import make_folder
from teledx_fed.store import appending, arriving, backup, census, learning, retention, rows
from teledx_fed.store.access import Access
from teledx_fed.store.census import Census
from teledx_fed.store.content import DOUBTS, to_json
from teledx_fed.store.database import Database
from teledx_fed.store.schema import SITE
from teledx_fed.store.tables import (
    DerivativeRow,
    ImageRow,
    PatientRow,
    ReadingRow,
    RefusalRow,
    StudyRow,
    SuggestionRow,
    ViewRow,
)
from teledx_fed.store.uploads import Uploads
from teledx_fed.store.values import (
    Arrival,
    DeletedStudies,
    LoggedView,
    StoredImage,
    StoredReading,
    StoredRefusal,
    StoredStudy,
    StudyEntry,
    StudyStatus,
    Suggestion,
    TrainingReading,
    check_path,
    check_text,
)

Clock = Callable[[], datetime]


def now() -> datetime:
    return datetime.now(UTC)


def open_store(url: str, folder: Path, clock: Clock = now) -> "Store":
    """Open the store with images in the folder's `images`; without a URL, use an SQLite file beside them."""
    return Store(url or f"sqlite:///{folder.absolute()}/site.sqlite", folder / "images", clock)


class Store:
    """The database at `url`, and `folder` with its images.

    A `DataError` names a value that is unknown or invalid. `access`: users, devices and links. `uploads`: uploads in
    progress.
    """

    def __init__(self, url: str, folder: Path, clock: Clock = now) -> None:
        self.folder, self._clock = folder, clock
        self._database = Database(url)
        self._database.upgrade(SITE)
        self.access = Access(self._database, clock)
        self.uploads = Uploads(self._database, clock)
        make_folder(folder)

    def close(self) -> None:
        self._database.close()

    @property
    def answers(self) -> bool:
        """Whether the database can be reached."""
        return self._database.answers

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
            row, is_new = arriving.add(session, arrival, link, self.folder, self._clock())
            if is_new and diagnosis is not None:
                appending.add_suggestion(session, row.id, diagnosis, self._clock())
            for path in derivatives if is_new else ():
                _add_derivative(session, row.id, path)
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
            if (
                rows.stored_study(rows.study_row(session, before.study.id, lock=True), self.folder).images
                != before.images
            ):
                return None
            row = arriving.grow(session, before.study.id, tuple(images), self.folder)
            appending.add_suggestion(session, row.id, diagnosis, self._clock())
            for path in derivatives:
                _add_derivative(session, row.id, path)
            return rows.stored_study(row, self.folder)

    def refuse(self, source: str, patient: str | None, reason: str) -> None:
        """List a refusal; count an equal one again, and reopen it if it was settled."""
        check_text("refusal.source", source)
        with self._database.writing() as session:
            appending.add_refusal(session, source, patient, reason, self._clock())

    def refusals(self, limit: int = 100) -> tuple[StoredRefusal, ...]:
        """Return the refusals that are not settled, newest first."""
        query = select(RefusalRow).where(RefusalRow.settled.is_(None)).order_by(RefusalRow.last.desc()).limit(limit)
        with self._database.reading() as session:
            return tuple(rows.refusal(row) for row in session.scalars(query))

    def settle_refusal(self, id: str, user: str) -> None:
        with self._database.writing() as session:
            if (row := session.get(RefusalRow, id)) is None:
                raise rows.unknown("refusal", id)
            row.settled, row.settled_by = self._clock(), user

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
        ordered = query.order_by(urgent, StudyRow.received, StudyRow.id).limit(limit).offset(offset)
        with self._database.reading() as session:
            return tuple(rows.entry(row) for row in session.scalars(ordered))

    def signed(self, limit: int = 100, offset: int = 0) -> tuple[StudyEntry, ...]:
        """Return the signed studies, newest first."""
        query = select(StudyRow).where(StudyRow.status == StudyStatus.SIGNED)
        ordered = query.order_by(StudyRow.received.desc(), StudyRow.id).limit(limit).offset(offset)
        with self._database.reading() as session:
            return tuple(rows.entry(row) for row in session.scalars(ordered))

    def of_patient(self, pseudonym: str, limit: int = 100) -> tuple[StudyEntry, ...]:
        """Return the studies of patients whose pseudonym begins with these characters, newest first."""
        query = select(StudyRow).where(StudyRow.patient.startswith(pseudonym, autoescape=True))
        ordered = query.order_by(StudyRow.received.desc(), StudyRow.id).limit(limit)
        with self._database.reading() as session:
            return tuple(rows.entry(row) for row in session.scalars(ordered))

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
        query = (
            select(ImageRow.digest).join(StudyRow, StudyRow.id == ImageRow.study).where(ImageRow.digest.in_(digests))
        )
        others = StudyRow.patient.is_distinct_from(patient) if patient else true()
        with self._database.reading() as session:
            return frozenset(session.scalars(query.where(others)))

    def patients(self) -> frozenset[str]:
        """Return the pseudonyms."""
        with self._database.reading() as session:
            return frozenset(session.scalars(select(PatientRow.pseudonym)))

    def ids(self) -> frozenset[str]:
        """Return the ids of all studies."""
        with self._database.reading() as session:
            return frozenset(session.scalars(select(StudyRow.id)))

    def set_eye(self, study: str, digest: str, eye: Eye) -> None:
        """Set the eye that a person states for a photograph; raise a `DataError` once the study is read."""
        with self._database.writing() as session:
            row = rows.study_row(session, study, lock=True)
            if row.status in (StudyStatus.READ, StudyStatus.REOPENED, StudyStatus.SIGNED):
                raise DataError(f"study must be unread for its eyes to change, got {row.status}. Send it again.")
            query = select(ImageRow).where(ImageRow.study == study, ImageRow.digest == digest)
            if (image := session.scalars(query).one_or_none()) is None:
                raise rows.unknown("image", digest)
            image.eye = eye
            image.doubts = to_json(
                DOUBTS, tuple(set(rows.image(image).doubts) & {Gap.PHOTOGRAPH_SHARED, Gap.BOTH_EYES_ALIKE})
            )

    def add_derivative(self, study: str, path: str) -> None:
        """Record a file in the image folder that was made from the study and is deleted with it."""
        with self._database.writing() as session:
            rows.study_row(session, study, lock=True)
            _add_derivative(session, study, path)

    def add_suggestion(self, study: str, diagnosis: Diagnosis) -> Suggestion:
        with self._database.writing() as session:
            return rows.suggestion(appending.add_suggestion(session, study, diagnosis, self._clock()))

    def suggestions(self, study: str) -> tuple[Suggestion, ...]:
        """Return the suggestions, oldest first; the last one is valid."""
        query = select(SuggestionRow).where(SuggestionRow.study == study).order_by(SuggestionRow.number)
        with self._database.reading() as session:
            rows.study_row(session, study)
            return tuple(rows.suggestion(row) for row in session.scalars(query))

    def add_reading(self, reading: Reading, sign: bool, signed: int | None = None) -> StoredReading:
        """Add a reading. A signed one is final; a later signed one amends it. `signed`: how many the reader saw.

        Raise a `DataError` if a demonstration is signed, if the eyes or photographs are not the study's, if the reader
        is unknown or disabled, if the study has no such suggestion, or if another was signed in between.
        """
        with self._database.writing() as session:
            return rows.reading(appending.add_reading(session, reading, sign, signed, self._clock()))

    def readings(self, study: str) -> tuple[StoredReading, ...]:
        """Return the readings, oldest first; the last signed one is valid."""
        query = select(ReadingRow).where(ReadingRow.study == study).order_by(ReadingRow.number)
        with self._database.reading() as session:
            rows.study_row(session, study)
            return tuple(rows.reading(row) for row in session.scalars(query))

    def readings_for_training(self) -> tuple[TrainingReading, ...]:
        """Return photographs without faults of gradable eyes, with the last signed reading of each study."""
        with self._database.reading() as session:
            return tuple(learning.examples(session, self.folder))

    def log_view(self, study: str, user: str, what: str = "page", covered_by: Collection[str] = ()) -> None:
        """Log a view, unless the user had a view in `covered_by` of this study in the last ten minutes."""
        check_text("view.what", what)
        with self._database.writing() as session:
            appending.add_view(session, study, user, what, self._clock(), covered_by)

    def views(self, study: str) -> tuple[LoggedView, ...]:
        """Return the views, oldest first."""
        query = select(ViewRow).where(ViewRow.study == study).order_by(ViewRow.number)
        with self._database.reading() as session:
            rows.study_row(session, study)
            return tuple(rows.view(row) for row in session.scalars(query))

    def forget_before(self, before: datetime) -> DeletedStudies:
        """Delete the studies received before that time with all their rows, and patients without studies.

        The caller deletes the files at the returned paths; after a crash, `stray_files` finds the remaining ones.
        """
        with self._database.writing() as session:
            return retention.forget(session, before, self.folder)

    def expire(self) -> tuple[Path, ...]:
        """Delete expired sessions, links and uploads; return the paths of upload files for the caller to delete."""
        with self._database.writing() as session:
            return retention.expire(session, self._clock(), self.folder)

    def stray_files(self, before: datetime) -> tuple[Path, ...]:
        """Return files in the image folder without a row, not written since `before`: a crash left them."""
        with self._database.reading() as session:
            return retention.strays(session, before, self.folder)

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


def _add_derivative(session: Session, study: str, path: str) -> None:
    check_path("derivative", path)
    session.merge(DerivativeRow(path=path, study=study))


def restore(path: Path, url: str, folder: Path, clock: Clock = now, key: Path | None = None) -> Store:
    """Restore a backup into an empty database and folder, with the names that `open_store` uses.

    Sessions are not restored. Raise an `IntegrityError` if the archive is damaged or newer than this version.
    """
    address = url or f"sqlite:///{folder.absolute()}/site.sqlite"
    backup.load(path, address, SITE, folder / "images", key, folder)
    return open_store(url, folder, clock)
