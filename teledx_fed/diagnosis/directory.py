"""The hospital's folder for diagnosis; its federation site may use the same folder."""

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
"""The bundle that `make demo` builds."""


@dataclass(frozen=True)
class DiagnosisDirectory:
    folder: Path

    @cached_property
    def settings(self) -> DiagnosisSettings:
        """The settings in diagnosis.yaml, or the defaults if there is no such file."""
        file = self.folder / "diagnosis.yaml"
        return read(file, DiagnosisSettings) if file.exists() else DiagnosisSettings()

    @property
    def champion(self) -> Path:
        """The bundle that this hospital diagnoses with."""
        return self.folder / "champion"

    @property
    def incoming(self) -> Path:
        """DICOM files as received: those that wait for their study, and those that were refused."""
        return self._kept / "incoming"

    @property
    def _kept(self) -> Path:
        return self.folder / "diagnosis"

    def store(self) -> Store:
        make_folder(self._kept)
        return open_store(self.settings.database or "", self._kept)

    def identified(self) -> IdentifiedStore:
        """Open the store that maps pseudonyms to patients."""
        return open_identified(self.settings.identified_database or "", self._kept)

    def restore(self, file: Path, key: Path | None = None) -> None:
        restore(file, self.settings.database or "", self._kept, key=key).close()

    def restore_identified(self, file: Path, key: Path | None = None) -> None:
        restore_identified(file, self.settings.identified_database or "", self._kept, key).close()

    def forget(self, days: float) -> int:
        """Delete studies older than `days` days, and patients without studies; return how many studies."""
        with closing(self.store()) as store, closing(self.identified()) as identified:
            now = datetime.now(UTC)
            before = now - timedelta(days=days)
            deleted = store.retention.forget(before)
            identified.forget(before, keep=store.retention.patients(), studies=store.retention.studies())
            for path in deleted.paths:
                path.unlink(missing_ok=True)
            for path in self.incoming.glob(f"{REFUSED}/*"):
                if path.stat().st_mtime < before.timestamp():
                    path.unlink()
        self.tidy()
        return deleted.studies

    def tidy(self) -> None:
        """Delete expired sessions, links and uploads, and files that a crash left behind."""
        with closing(self.store()) as store:
            for path in (
                *store.retention.expire(),
                *store.retention.stray_files(datetime.now(UTC) - timedelta(days=1)),
            ):
                path.unlink(missing_ok=True)

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """Delete expired data in a thread, at once and every hour; also studies older than `keep_days`."""
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
        """The key that gives a study the same id in every batch; None before the first use of the folder."""
        return self._key() if self._pseudonym_key.exists() else None

    def bundle(self, named: Path | None, or_demonstration: bool = False) -> Bundle:
        """Open the named bundle, else the champion, else (with `or_demonstration`) that of `make demo`."""
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
        """Return the pseudonym key; created once, because another key would change every pseudonym."""
        file = self._pseudonym_key
        if not file.exists():
            make_folder(file.parent)
            write_bytes(file, secrets.token_bytes(KEY_BYTES))
        return file.read_bytes()
