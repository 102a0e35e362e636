"""Collect DICOM photographs on disk until their study is complete: a camera may open an association for each.

The folder holds all the state, so a crash loses nothing. In it: `waiting/STUDY/INSTANCE.dcm`, named by digests of both
UIDs; `taking`, studies on their way to the clinic; `refused`, files that the clinic refused.
"""

import hashlib
import logging
import shutil
import time
from pathlib import Path
from threading import Lock
from uuid import uuid4

from teledx_fed.core.checks import must
from teledx_fed.core.errors import DataError, TeledxError
from teledx_fed.core.failures import log_unexpected
from teledx_fed.core.files import make_folder, write_bytes
from teledx_fed.data.dicom import DicomPhotograph, read_header
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.intake import LARGEST_MIB, MOST_IMAGES, DecodedPhotograph, PhotographUpload, StudyUpload
from teledx_fed.diagnosis.photograph_store import check_same
from teledx_fed.store.database import StoreError

log = logging.getLogger(__name__)

SOURCE = "dicom"
WAITING, TAKING, REFUSED = "waiting", "taking", "refused"


class Gathering:
    """Collect the photographs of each study; pass it on once none has come for `quiet` seconds, then add later ones."""

    def __init__(self, clinic: Clinic, folder: Path, quiet: float) -> None:
        self._clinic, self._folder, self._quiet = clinic, folder, quiet
        self._lock = Lock()
        make_folder(folder)

    def add(self, content: bytes, sender: str) -> None:
        """Write a photograph to disk. A `DataError` has the reason for a refusal; the clinic lists it."""
        patient = None
        try:
            _check_size(content)
            photograph = self._clinic.photographs.decode(PhotographUpload(content))
            patient = self._clinic.patients.of_files([photograph.header] if photograph.header else [])
            self._add(content, photograph, sender)
        except TeledxError as error:
            self._refuse(sender, patient, str(error))
            raise

    def take_in(self) -> int:
        """Pass complete studies to the clinic; return how many. After a disk or database error, a study waits."""
        for folder in sorted(self._folder.glob(f"{WAITING}/*")):
            with self._lock:
                if time.time() - folder.stat().st_mtime >= self._quiet:
                    make_folder(self._folder / TAKING)
                    folder.rename(self._folder / TAKING / f"{folder.name}-{uuid4().hex}")
        return sum(self._take(folder) for folder in sorted(self._folder.glob(f"{TAKING}/*")))

    def refuse(self, sender: str, reason: str) -> None:
        """List a refusal of photographs that the sender offered but could not send."""
        self._refuse(sender, None, reason)

    def _add(self, content: bytes, photograph: DecodedPhotograph, sender: str) -> None:
        header = photograph.header
        assert header is not None  # the receiver gets only DICOM
        for name, uid in (("StudyInstanceUID", header.study), ("SOPInstanceUID", header.instance)):
            must(
                bool(uid),
                name,
                "be in the file",
                "none",
                "Without it, the photographs of a study cannot be grouped.",
                DataError,
            )
        folder = self._folder / WAITING / _digest(header.study)
        file = folder / f"{_digest(header.instance)}.dcm"
        with self._lock:
            stored = self._clinic.find_study(SOURCE, header.study)
            if stored is not None:
                self._clinic.patients.check_belongs(stored, header)
                if self._clinic.photographs.find(stored, header.instance, photograph.pixels) is not None:
                    return
            waiting = sorted(folder.glob("*.dcm"))
            self._clinic.patients.of_files([header, *map(read_header, waiting)])
            if file in waiting:
                check_same(DicomPhotograph(file).read(), photograph.pixels)
                return
            count = len(waiting) + (len(stored.images) if stored else 0)
            must(
                count < MOST_IMAGES,
                "study.images",
                f"be {MOST_IMAGES} at most",
                count + 1,
                "Send another study.",
                DataError,
            )
            make_folder(folder)
            write_bytes(file, content)
            (folder / "sender").write_text(sender)

    def _take(self, folder: Path) -> bool:
        files = sorted(folder.glob("*.dcm"))
        try:
            if files:
                photographs = tuple(PhotographUpload(file.read_bytes()) for file in files)
                self._clinic.gather(StudyUpload(read_header(files[0]).study, SOURCE, photographs))
        except TeledxError as error:
            self._set_aside(folder, str(error))
            return False
        except (StoreError, OSError) as error:
            log.error("a study is still in %s, and tried again: %s", folder, error)
            return False
        except Exception as error:  # noqa: BLE001 - the clinic lists a reference, the log has the traceback
            self._set_aside(folder, log_unexpected(error))
            return False
        shutil.rmtree(folder)
        return bool(files)

    def _set_aside(self, folder: Path, reason: str) -> None:
        files = sorted(folder.glob("*.dcm"))
        self._refuse((folder / "sender").read_text(), self._clinic.patients.of_files([read_header(files[0])]), reason)
        make_folder(self._folder / REFUSED)
        for file in files:
            file.rename(self._folder / REFUSED / f"{uuid4().hex}.dcm")
        shutil.rmtree(folder)

    def _refuse(self, sender: str, patient: str | None, reason: str) -> None:
        log.warning("refused, from %s: %s", sender, reason)
        self._clinic.store.refusals.add(f"{SOURCE}/{sender}", patient, reason)


def _check_size(content: bytes) -> None:
    fits = len(content) <= LARGEST_MIB * 2**20
    must(fits, "the photograph", f"have {LARGEST_MIB} MiB at most", len(content) >> 20, "Scale it down.", DataError)


def _digest(uid: str) -> str:
    return hashlib.sha256(uid.encode()).hexdigest()[:32]
