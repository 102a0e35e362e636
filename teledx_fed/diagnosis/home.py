"""A hospital's folder as diagnosis needs it; a federation may use the same one, or none."""

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.diagnose import open_bundle
from teledx_fed.diagnosis.web.settings import DiagnosisSettings
from teledx_fed.files import write_bytes
from teledx_fed.settings import read
from teledx_fed.store.identified import IdentifiedStore, open_identified
from teledx_fed.store.store import Store, open_store, restore

KEY_BYTES = 32


@dataclass(frozen=True)
class DiagnosisHome:
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
        """Files that came over DICOM, until they are taken in."""
        return self._kept / "incoming"

    @property
    def _kept(self) -> Path:
        return self.folder / "diagnosis"

    def store(self) -> Store:
        self._kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        return open_store(self.settings.database or "", self._kept)

    def _identified(self) -> IdentifiedStore:
        return open_identified(self.settings.identified_database or "", self._kept)

    def restore(self, file: Path) -> None:
        restore(file, self.settings.database or "", self._kept).close()

    def forget(self, days: float) -> int:
        """Studies received more than `days` ago, with their files; returns how many."""
        store, now = self.store(), datetime.now(UTC)
        forgotten = store.forget_before(now - timedelta(days=days))
        for path in (*forgotten.paths, *store.expire(), *store.stray_files(now - timedelta(days=1))):
            path.unlink(missing_ok=True)
        store.close()
        return forgotten.studies

    def clinic(self, bundle: Path | None) -> Clinic:
        settings, store = self.settings, self.store()
        opened = open_bundle(bundle or self.champion, settings.threads)
        return Clinic(store, self._identified(), opened, settings.referral, self._key(), settings.threads)

    def _key(self) -> bytes:
        """Made once; with another, a patient's earlier studies would be a stranger's."""
        file = self.folder / "secrets" / "pseudonym.key"
        if not file.exists():
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_bytes(file, secrets.token_bytes(KEY_BYTES))
            file.chmod(0o600)
        return file.read_bytes()
