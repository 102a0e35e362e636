"""The hospital's folder for diagnosis; a federation may use the same folder, or none."""

import logging
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from threading import Event, Thread

from teledx_fed.config.loading import read
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.files import make_folder, write_bytes
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.diagnose import open_bundle
from teledx_fed.diagnosis.gathering import REFUSED
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.model.bundle import Bundle
from teledx_fed.store.database import StoreError
from teledx_fed.store.identified import IdentifiedStore, open_identified, restore_identified
from teledx_fed.store.store import Store, open_store, restore

log = logging.getLogger(__name__)

KEY_BYTES = 32
HOUR = 3600.0
DEMONSTRATION = Path("demo/hospital/champion")
"""Where `make demo` builds it."""


@dataclass(frozen=True)
class DiagnosisDirectory:
    folder: Path

    @cached_property
    def settings(self) -> DiagnosisSettings:
        """As diagnosis.yaml says, or all defaults where there is none."""
        file = self.folder / "diagnosis.yaml"
        return read(file, DiagnosisSettings) if file.exists() else DiagnosisSettings()

    @property
    def champion(self) -> Path:
        """The bundle that this hospital diagnoses with."""
        return self.folder / "champion"

    @property
    def incoming(self) -> Path:
        """Files that came over DICOM, until they are taken in, and those that are refused: whole, as they came."""
        return self._kept / "incoming"

    @property
    def _kept(self) -> Path:
        return self.folder / "diagnosis"

    def store(self) -> Store:
        make_folder(self._kept)
        return open_store(self.settings.database or "", self._kept)

    def identified(self) -> IdentifiedStore:
        """The store that holds who is behind a pseudonym."""
        return open_identified(self.settings.identified_database or "", self._kept)

    def restore(self, file: Path, key: Path | None = None) -> None:
        restore(file, self.settings.database or "", self._kept, key=key).close()

    def restore_identified(self, file: Path, key: Path | None = None) -> None:
        restore_identified(file, self.settings.identified_database or "", self._kept, key).close()

    def forget(self, days: float) -> int:
        """Studies received more than `days` ago with their files, and patients without any left; returns how many."""
        with closing(self.store()) as store, closing(self.identified()) as identified:
            now = datetime.now(UTC)
            before = now - timedelta(days=days)
            forgotten = store.forget_before(before)
            identified.forget(before, keep=store.patients(), studies=store.ids())
            for path in forgotten.paths:
                path.unlink(missing_ok=True)
            for path in self.incoming.glob(f"{REFUSED}/*"):
                if path.stat().st_mtime < before.timestamp():
                    path.unlink()
        self.tidy()
        return forgotten.studies

    def tidy(self) -> None:
        """Delete what is over: sessions, links, uploads that were not finished in time, and files that a crash left."""
        with closing(self.store()) as store:
            for path in (*store.expire(), *store.stray_files(datetime.now(UTC) - timedelta(days=1))):
                path.unlink(missing_ok=True)

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """Meanwhile, at once and every hour, what is over or older than `keep_days` is deleted."""
        over = Event()
        thread = Thread(target=self._forget_until, args=(over, self.settings.keep_days))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _forget_until(self, over: Event, days: float | None) -> None:
        while True:
            try:
                self.tidy() if days is None else self.forget(days)
            except (StoreError, OSError) as error:
                log.error("old studies could not be deleted, the next attempt is in an hour: %s", error)
            if over.wait(HOUR):
                return

    @property
    def study_key(self) -> bytes | None:
        """With it a study has the same id in every batch; None where the folder is no hospital's yet."""
        return self._key() if self._pseudonym_key.exists() else None

    def bundle(self, named: Path | None, or_demonstration: bool = False) -> Bundle:
        """The one that is named, or else the hospital's champion, or else, if asked, what `make demo` built."""
        choices = [named] if named else [self.champion, *([DEMONSTRATION] if or_demonstration else [])]
        for folder in choices:
            if folder.is_dir():
                return open_bundle(folder, self.settings.threads)
        raise ConfigurationError(
            f"--bundle must be given, got none, and {choices[-1]} is not there. Adopt your federation's model: "
            "python -m sites adopt."
        )

    def clinic(self, bundle: Path | None) -> Clinic:
        settings, opened = self.settings, self.bundle(bundle)
        stores = self.store(), self.identified()
        return Clinic(*stores, opened, settings.referral, self._key(), settings.threads, settings.most_pixels)

    @property
    def _pseudonym_key(self) -> Path:
        return self.folder / "secrets" / "pseudonym.key"

    def _key(self) -> bytes:
        """Made once: with another key, a patient's earlier studies would have another pseudonym."""
        file = self._pseudonym_key
        if not file.exists():
            make_folder(file.parent)
            write_bytes(file, secrets.token_bytes(KEY_BYTES))
        return file.read_bytes()
