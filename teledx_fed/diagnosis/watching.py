"""A folder that a fundus camera writes to: each photograph, or each patient's folder, becomes a study."""

import hashlib
import logging
import shutil
from pathlib import Path

from teledx_fed.diagnosis.clinic import Clinic, Photograph, Submitted
from teledx_fed.diagnosis.intake import Submission, submissions

log = logging.getLogger(__name__)

DONE, REFUSED = "done", "refused"
"""Where files go, in folders beside the watched one's photographs."""
REASON = "reason.txt"

State = dict[str, tuple[tuple[int, int], ...]]


class Watch:
    """Look again and again: what was not written to since the last look is taken in, and moved away."""

    def __init__(self, clinic: Clinic, folder: Path) -> None:
        if not folder.is_dir():
            raise ValueError(f"{folder} must be a folder, got none. Name the one that the camera writes to.")
        self._clinic, self._folder = clinic, folder
        self._before: State = {}

    def look(self) -> int:
        """How many studies were taken in."""
        waiting = [one for one in submissions([self._folder]) if one.name.split("/")[0] not in (DONE, REFUSED)]
        now: State = {one.name: tuple(_state(sent.file) for sent in one.sent) for one in waiting}
        still = [one for one in waiting if self._before.get(one.name) == now[one.name]]
        self._before = now
        return sum(self._take_in(one) for one in still)

    def _take_in(self, submission: Submission) -> bool:
        photographs = tuple(
            Photograph(sent.file.read_bytes(), sent.eye, sent.field, sent.name) for sent in submission.sent
        )
        key = hashlib.sha256(
            b"\0".join((submission.name.encode(), *(each.content for each in photographs)))
        ).hexdigest()
        try:
            self._clinic.receive(Submitted(key, "folder", photographs, record=submission.record))
        except ValueError as error:
            log.warning("a study is refused, and kept in %s with the reason", self._folder / REFUSED)
            self._move(submission, REFUSED).joinpath(REASON).write_text(f"{error}\n")
            return False
        self._move(submission, DONE)
        return True

    def _move(self, submission: Submission, to: str) -> Path:
        """Nothing is deleted: the camera's own files are the clinic's to remove."""
        target = self._folder / to / submission.name
        while target.exists():
            target = target.with_name(f"{target.name}-again")
        target.mkdir(parents=True)
        for sent in submission.sent:
            shutil.move(sent.file, target / sent.file.name)
        folder = submission.sent[0].file.parent
        if folder != self._folder and not any(folder.iterdir()):
            folder.rmdir()
        return target


def _state(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns
