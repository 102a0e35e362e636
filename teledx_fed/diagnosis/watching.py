"""Watch a folder that a fundus camera writes to: each photograph or patient's folder becomes a study."""

import hashlib
import logging
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from teledx_fed.core.errors import ConfigurationError, TeledxError
from teledx_fed.core.failures import log_unexpected
from teledx_fed.core.files import make_folder
from teledx_fed.data.problems import Problem
from teledx_fed.data.walk import walk
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.diagnosis.intake import StudyUpload
from teledx_fed.diagnosis.study_files import of_folder
from teledx_fed.store.database import StoreError

log = logging.getLogger(__name__)

DONE, REFUSED = "done", "refused"
"""Sub-folders of the watched folder for files after intake."""
REASON = "reason.txt"
STUDY = ".study"
"""File in a patient's folder of `done`: the id of the study with its photographs."""
VISIT_HOURS = 12
"""Photographs in a patient's folder within these hours of the first ones join the same study."""
SOURCE = "folder"

State = dict[str, tuple[tuple[int, int], ...]]


class Watch:
    """Watcher of a folder: each `look` takes in files unchanged since the last one, and moves them away."""

    def __init__(self, clinic: Clinic, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigurationError(f"{folder} must be a folder, got none. Name the one that the camera writes to.")
        self._clinic, self._folder = clinic, folder
        self._before: State = {}
        self._unreadable: Sequence[Problem] = ()

    def look(self) -> int:
        """Take in the studies that are ready; return how many."""
        files = walk(self._folder, excluded=[self._folder / name for name in (DONE, REFUSED)])
        self._report(files.problems)
        studies = of_folder(files)
        state: State = {study.key: tuple(_state(upload.file) for upload in study.photographs) for study in studies}
        ready = [study for study in studies if self._before.get(study.key) == state[study.key]]
        self._before = state
        return sum(self._take_in(study) for study in ready)

    def _report(self, problems: Sequence[Problem]) -> None:
        """Log problems once, without file names: they may contain patients' names."""
        if problems and problems != self._unreadable:
            log.error(
                "%d files or folders in %s cannot be read: correct their permissions", len(problems), self._folder
            )
        self._unreadable = problems

    def _take_in(self, submission: StudyUpload) -> bool:
        photographs = tuple(replace(upload, content=upload.read_bytes()) for upload in submission.photographs)
        study_file = self._begun(submission)
        try:
            if study_file is not None:
                self._clinic.grow(study_file.read_text(), photographs)
            else:
                content = b"\0".join(
                    (submission.key.encode(), *(photograph.read_bytes() for photograph in photographs))
                )
                key = hashlib.sha256(content).hexdigest()
                stored = self._clinic.receive(replace(submission, key=key, source=SOURCE, photographs=photographs))
        except (StoreError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - the clinic lists a reference, the log has the traceback
            reason = str(error) if isinstance(error, TeledxError) else log_unexpected(error)
            log.warning("a study is refused, and kept in %s with the reason", self._folder / REFUSED)
            self._move(submission, _new(self._folder / REFUSED / submission.key)).joinpath(REASON).write_text(
                f"{reason}\n"
            )
            self._clinic.store.refusals.add(SOURCE, None, reason)
            return False
        if study_file is not None:
            self._move(submission, study_file.parent)
        else:
            target = _new(self._folder / DONE / submission.key)
            self._move(submission, target).joinpath(STUDY).write_text(stored.study.id)
        return True

    def _begun(self, submission: StudyUpload) -> Path | None:
        """Return the file with the study id of this patient's current visit, if there is one."""
        if submission.photographs[0].file.parent == self._folder:
            return None
        places = [folder / STUDY for folder in _there(self._folder / DONE / submission.key)]
        latest = places[-1] if places and places[-1].exists() else None
        is_recent = latest is not None and time.time() - latest.stat().st_mtime < VISIT_HOURS * 3600
        return latest if is_recent else None

    def _move(self, submission: StudyUpload, target: Path) -> Path:
        """Move the files to `target`; never delete one: that is for the clinic's staff."""
        make_folder(target)
        for upload in submission.photographs:
            shutil.move(upload.file, _new(target / upload.file.name))
        folder = submission.photographs[0].file.parent
        if folder != self._folder and not any(folder.iterdir()):
            folder.rmdir()
        return target


def _there(path: Path) -> Iterator[Path]:
    """Yield this path and the alternatives that `_new` returned, in order, while they exist."""
    while path.exists():
        yield path
        path = path.with_name(f"{path.stem}-again{path.suffix}")


def _new(path: Path) -> Path:
    """Return this path, or an unused one beside it if it exists."""
    for existing in _there(path):
        path = existing.with_name(f"{existing.stem}-again{existing.suffix}")
    return path


def _state(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns
