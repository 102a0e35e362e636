"""A clinic for a trial, with the secrets of its user, device and link."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from benchmarks.fuzzing.templates import PASSWORD, Secrets
from teledx_fed.core.errors import DataError
from teledx_fed.core.examples import Eye
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.diagnose import open_bundle
from teledx_fed.diagnosis.intake import PhotographUpload, StudyUpload
from teledx_fed.diagnosis.referral import ReferralSettings
from teledx_fed.diagnosis.web.pages import StudyView
from teledx_fed.diagnosis.web.passwords import hashed_password
from teledx_fed.diagnosis.web.sessions import COOKIE
from teledx_fed.store.identified import open_identified
from teledx_fed.store.store import open_store
from teledx_fed.store.uploads import Upload
from teledx_fed.store.values import Device, Role

DAY = timedelta(days=1)
FOLDERS = ("material", "inputs", "clinic", "work", "tmp")
CLINIC_FILES = ("site.sqlite", "images", "identified")
"""Names in a clinic's folder; SQLite adds endings."""


class TrialClinic:
    """A clinic in `folder`, next to the material. A lost session, or a used link or upload, is replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder, home = folder, folder / "clinic"
        for name in FOLDERS:
            (folder / name).mkdir(exist_ok=True)
        store, identified = open_store("", home), open_identified("", home)
        bundle = open_bundle(folder / "material" / "bundle", threads=1)
        self.clinic = Clinic(store, identified, bundle, ReferralSettings(), b"k" * 32, threads=2)
        self._add_accounts(name := uuid4().hex)
        self._eye = (folder / "material" / "eye.png").read_bytes()
        photograph = PhotographUpload(self._eye, Eye.LEFT)
        self._first = self.clinic.receive(StudyUpload(name, self._device.source, (photograph,)))

    def _add_accounts(self, name: str) -> None:
        access = self.clinic.store.access
        self._reader = access.add_user(name, Role.READER, hashed_password(PASSWORD)).name
        self._token = access.add_device(name)
        self._device = Device(name, datetime.now(UTC), None)
        self._link = self._session = self._upload = ""

    def secrets(self) -> Secrets:
        access, upload = self.clinic.store.access, self._open_upload()
        if access.link(self._link) is None:
            self._link = access.add_link("by the sea", DAY)[0]
        session = access.logged_in(self._session)
        if session is None:
            self._session, session = access.log_in(self._reader, DAY)
        return Secrets(
            reader=self._reader,
            token=self._token,
            cookie=f"{COOKIE}={self._session}",
            csrf=session.csrf,
            version=self._version(),
            link=self._link,
            study=self._first.entry.id,
            digest=self._first.images[0].digest,
            upload=upload.id,
            offset=upload.offset,
            rest=self._eye[upload.offset :] or self._eye,
        )

    def _version(self) -> str:
        """Return the study's version, as in the form of its page."""
        store, study = self.clinic.store, self._first.entry.id
        return StudyView(store.study(study), store.suggestions(study)[-1], store.readings(study)).version

    def traces(self) -> list[str]:
        """List files that should not exist, and files that are missing, after the last input."""
        store = self.clinic.store
        beside = [path for path in self.folder.iterdir() if path.name not in FOLDERS]
        beside += [path for name in ("work", "tmp") for path in (self.folder / name).iterdir()]
        beside += [path for path in (self.folder / "clinic").iterdir() if not path.name.startswith(CLINIC_FILES)]
        strays, empty = store.retention.stray_files(datetime.now(UTC) + DAY), _empty(store.folder / "studies")
        return sorted(str(path.relative_to(self.folder)) for path in (*beside, *strays, *empty, *self._missing()))

    def _open_upload(self) -> Upload:
        uploads = self.clinic.store.uploads
        try:
            upload = uploads.get(self._device.source, self._upload)
        except DataError:
            upload = uploads.begin(self._device.source, len(self._eye), DAY)
        self._upload = upload.id
        return upload

    def _missing(self) -> Iterator[Path]:
        store = self.clinic.store
        for entry in (*store.worklist(limit=10**6), *store.signed(limit=10**6)):
            files = [store.folder / image.path for image in store.study(entry.id).images]
            yield from (file for file in files if not file.is_file())


def _empty(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir() and not any(path.iterdir())]
