"""Find duplicates in a batch: a photograph in two studies or twice in one, and two studies of one name."""

import hashlib
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from teledx_fed.core.clinical import Gap
from teledx_fed.diagnosis.intake import StudyUpload

Place = tuple[int, int]
"""Index of a study, and index of a file in it."""
LISTED = 3
"""How many colliding files a message names; it counts the others."""
PHOTOGRAPH, NAME = "the same photograph as", "a study of the same name as"


@dataclass(frozen=True)
class Collision:
    """A file at `place` that is `what` (`the same photograph as`) `others`."""

    place: Place
    what: str
    others: tuple[Place, ...]

    @property
    def is_shared(self) -> bool:
        """Whether several studies, perhaps of different patients, have the photograph."""
        return self.what is PHOTOGRAPH and any(number != self.place[0] for number, _ in self.others)

    def sentence(self, describe: Callable[[Place], str]) -> str:
        more = [f"{len(self.others) - LISTED} more"] if len(self.others) > LISTED else []
        return f"{self.what} {' and '.join([*map(describe, self.others[:LISTED]), *more])}"


def collisions(submissions: Sequence[StudyUpload]) -> list[Collision]:
    """Return the collisions, ordered by place. Photographs are the same if their files are identical."""
    names = (
        (_plain(submission.key), (number, 0)) for number, submission in enumerate(submissions) if submission.photographs
    )
    return sorted([*_repeated(_photographs(submissions), PHOTOGRAPH), *_repeated(names, NAME)], key=lambda it: it.place)


def mark_shared(submissions: Sequence[StudyUpload], duplicates: Iterable[Collision]) -> list[StudyUpload]:
    """Return the studies with a doubt on each shared photograph."""
    shared = {collision.place for collision in duplicates if collision.is_shared}
    doubts = {True: (Gap.PHOTOGRAPH_SHARED,), False: ()}
    return [
        replace(
            submission,
            photographs=tuple(
                replace(upload, doubts=doubts[(number, at) in shared])
                for at, upload in enumerate(submission.photographs)
            ),
        )
        for number, submission in enumerate(submissions)
    ]


def _repeated(keyed: Iterable[tuple[str, Place]], what: str) -> Iterable[Collision]:
    groups: dict[str, list[Place]] = defaultdict(list)
    for key, place in keyed:
        groups[key].append(place)
    for group in groups.values():
        for place in group if len(group) > 1 else ():
            yield Collision(place, what, tuple(other for other in group if other != place))


def _photographs(submissions: Sequence[StudyUpload]) -> Iterable[tuple[str, Place]]:
    for number, submission in enumerate(submissions):
        for at, upload in enumerate(submission.photographs):
            if digest := _digest(upload.file):
                yield digest, (number, at)


def _digest(file: Path) -> str | None:
    """Return the SHA-256 of a file, or None if it cannot be read: its result row has the reason."""
    try:
        if not file.is_file():
            return None
        with file.open("rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()
    except OSError:
        return None


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()
