"""List every file below a folder: photographs and all other files."""

import os
import re
import stat
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePath

from teledx_fed.core.examples import NotTaken
from teledx_fed.data.dicom_parsing import PREFIX
from teledx_fed.data.problems import BadData, Problem

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".tif", ".tiff", ".bmp", ".webp")
DICOM_SUFFIXES = (".dcm", ".dicom")
SUFFIXES = (*IMAGE_SUFFIXES, *DICOM_SUFFIXES)

SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|II[*+]\0|MM\0[*+]|RIFF.{4}WEBP|BM.{12}[\x0c\x28\x34\x38\x6c\x7c]\0\0\0", re.DOTALL
)
"""How a JPEG, PNG, TIFF, WebP or BMP file begins."""
SNIFFED = PREFIX.stop

LEFTOVERS = {
    *("__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "network trash folder", "temporary items"),
    *("@eadir", "@recycle", "#recycle", "$recycle.bin", "system volume information", "lost+found"),
}
"""Names under which archives, file managers and file servers leave files and thumbnails, in lower case."""


class NotTakenReason(StrEnum):
    """Why a file in a folder is not taken as a photograph."""

    HIDDEN = "hidden, or left by an archive or a file manager"
    OTHER = "not a photograph that this program reads"
    LOOP = "a link to a folder that it lies in"
    UNLISTED = "a photograph that no row of the table names"


@dataclass(frozen=True)
class Files:
    """All files below `folder`: each is in `images` or `dicom`, is counted in `not_taken`, or is a problem.

    `others` are files that are not taken because they are not photographs.
    """

    folder: Path
    images: frozenset[Path] = frozenset()
    dicom: frozenset[Path] = frozenset()
    others: frozenset[Path] = frozenset()
    not_taken: tuple[NotTaken, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def photographs(self) -> tuple[Path, ...]:
        """Images and DICOM files, sorted by path."""
        return tuple(sorted(self.images | self.dicom))

    def readable(self) -> "Files":
        """Return these files. Raise `BadData` with every folder, file and link that cannot be read."""
        if self.problems:
            raise BadData(self.problems)
        return self


def walk(folder: Path, excluded: Iterable[Path] = ()) -> Files:
    """List all files below `folder`, through symbolic links, without the files and folders in `excluded`.

    A link to a folder that contains it is not followed. The list is empty where `folder` is not a folder.
    """
    walker = _Walker(frozenset(excluded))
    walker.run(folder)
    return Files(
        folder,
        frozenset(walker.images),
        frozenset(walker.dicom),
        frozenset(path for path, why in walker.left if why is NotTakenReason.OTHER),
        counted(walker.left),
        tuple(dict.fromkeys(walker.problems)),
    )


def counted(left: Iterable[tuple[Path, NotTakenReason]]) -> tuple[NotTaken, ...]:
    """Count files that are not taken, by folder, suffix and reason."""
    cells = Counter((_shown(path.parent), _suffix(path), why) for path, why in left)
    return tuple(NotTaken(*cell, count) for cell, count in sorted(cells.items()))


def by_reason(not_taken: Iterable[NotTaken]) -> dict[str, dict[str, int]]:
    """Count files that are not taken by reason and suffix, the most frequent suffix first."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for group in not_taken:
        counts[group.why][group.suffix] += group.count
    return {why: dict(suffixes.most_common()) for why, suffixes in sorted(counts.items())}


def describe_not_taken(not_taken: Iterable[NotTaken]) -> str:
    """Write counts as `3 files are not taken: 2 .heic, 1 .txt (not a photograph that this program reads)`."""
    reasons = by_reason(not_taken)
    count = sum(sum(suffixes.values()) for suffixes in reasons.values())
    lists = (
        f"{', '.join(f'{number} {suffix}' for suffix, number in suffixes.items())} ({why})"
        for why, suffixes in reasons.items()
    )
    return f"{count} {'file is' if count == 1 else 'files are'} not taken: {'; '.join(lists)}" if count else ""


def _suffix(path: PurePath) -> str:
    """Return the suffix in lower case; the text after a dot in a longer name is not a suffix."""
    suffix = path.suffix.casefold()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,8}", suffix) else "no suffix"


@dataclass
class _Folder:
    path: Path
    above: frozenset[tuple[int, int]]
    hidden: bool


class _Walker:
    def __init__(self, excluded: frozenset[Path]) -> None:
        self.images: list[Path] = []
        self.dicom: list[Path] = []
        self.left: list[tuple[Path, NotTakenReason]] = []
        self.problems: list[Problem] = []
        self._excluded = excluded
        self._open: list[_Folder] = []

    def run(self, folder: Path) -> None:
        try:
            state = folder.stat()
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self.problems.append(_broken(folder, error))
            return
        if stat.S_ISDIR(state.st_mode):
            self._descend(folder, frozenset(), _identity(state), hidden=False)
        while self._open:
            place = self._open.pop()
            for path in self._entries(place):
                self._take(path, place)

    def _entries(self, folder: _Folder) -> list[Path]:
        try:
            return sorted(folder.path.iterdir())
        except OSError as error:
            self._fault(folder.path, folder.hidden, unreadable(folder.path, error))
            return []

    def _take(self, path: Path, folder: _Folder) -> None:
        hidden = folder.hidden or path.name.startswith(".") or path.name.casefold() in LEFTOVERS
        try:
            state = path.stat()
        except OSError as error:
            self._fault(path, hidden, _broken(path, error))
            return
        if path in self._excluded and not hidden:
            return
        if stat.S_ISDIR(state.st_mode):
            self._descend(path, folder.above, _identity(state), hidden)
        else:
            self._take_file(path, state, hidden)

    def _descend(self, path: Path, above: frozenset[tuple[int, int]], identity: tuple[int, int], hidden: bool) -> None:
        if identity in above:
            self.left.append((path, NotTakenReason.LOOP))
        else:
            self._open.append(_Folder(path, above | {identity}, hidden))

    def _take_file(self, path: Path, state: os.stat_result, hidden: bool) -> None:
        if hidden:
            self.left.append((path, NotTakenReason.HIDDEN))
        elif not stat.S_ISREG(state.st_mode):
            self.left.append((path, NotTakenReason.OTHER))
        elif not _is_text(str(path)):
            self.problems.append(_misnamed(path))
        elif path.suffix.casefold() in IMAGE_SUFFIXES:
            self.images.append(path)
        else:
            self._sniff(path)

    def _sniff(self, path: Path) -> None:
        try:
            with path.open("rb") as file:
                begin = file.read(SNIFFED)
        except OSError as error:
            self.problems.append(replace(unreadable(path, error), skippable=True))
            return
        if SIGNATURES.match(begin):
            self.images.append(path)
        elif begin[PREFIX] == b"DICM" or path.suffix.casefold() in DICOM_SUFFIXES:
            self.dicom.append(path)
        else:
            self.left.append((path, NotTakenReason.OTHER))

    def _fault(self, path: Path, hidden: bool, problem: Problem) -> None:
        """Count a hidden file that cannot be read as not taken; report any other."""
        if hidden:
            self.left.append((path, NotTakenReason.HIDDEN))
        else:
            self.problems.append(problem)


def unreadable(path: Path, error: OSError) -> Problem:
    """Return the problem of a path that does not exist, or that this user may not read."""
    if isinstance(error, FileNotFoundError):
        return Problem(_shown(path), "must exist, got no such file. Put it there.", skippable=False)
    remedy = f"Let the user with the id {os.geteuid()} read {_shown(path)}, or move it elsewhere."
    return Problem(_shown(path), f"must be readable, got {error.strerror}. {remedy}", skippable=False)


def _broken(path: Path, error: OSError) -> Problem:
    try:
        target = path.readlink()
    except OSError:  # not a link: its folder can be listed but not entered
        return unreadable(path.parent, error)
    if isinstance(error, PermissionError):
        return unreadable(path, error)
    message = f"must lead to a file or folder, got a link to {_shown(target)}: {error.strerror}."
    return Problem(_shown(path), f"{message} Correct the link, or remove it.")


def _misnamed(path: Path) -> Problem:
    name = os.fsencode(path.name)
    message = f"must have a name in UTF-8, got {name!r}. Rename it, for example with convmv -f cp1252 -t utf8."
    return Problem(_shown(path.parent), message)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(path: Path) -> str:
    return os.fsencode(path).decode(errors="backslashreplace")


def _identity(state: os.stat_result) -> tuple[int, int]:
    return state.st_dev, state.st_ino
