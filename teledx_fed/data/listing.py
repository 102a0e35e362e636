"""What a data set says of its photographs, and the examples that can be made of that."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from teledx_fed.data.photographs import PhotographFile
from teledx_fed.data.problems import Problem
from teledx_fed.data.tables import Row, on_disk
from teledx_fed.records import Collection, Example, Eye, Field, Patients, Photograph, Reason, SetAside

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")

Grades = Mapping[str, int | Reason]
"""A grading scheme: the ICDR grade that a code means, or why a photograph with this code has none."""

NAMES = ("no_dr", "mild", "moderate", "severe", "proliferate_dr")
ICDR: Grades = {
    **{str(grade): grade for grade in range(len(NAMES))},
    **{name: grade for grade, name in enumerate(NAMES)},
    "": Reason.UNGRADED,
}
BINARY: Grades = {"not_referable": 0, "non_referable": 0, "referable": 2}
"""Only whether it is referable can be read from such a grade."""

GRADABLE = {"1": True, "yes": True, "adequate": True, "": True, "0": False, "no": False, "inadequate": False}
OEDEMA = {"0": False, "no": False, "1": True, "2": True, "yes": True, "": None}
LEFT, RIGHT = ("left", "l", "os"), ("right", "r", "od")
EYES = {**dict.fromkeys(LEFT, Eye.LEFT), **dict.fromkeys(RIGHT, Eye.RIGHT), "": Eye.UNKNOWN}


@dataclass(frozen=True)
class Entry:
    """A photograph in its data set's own codes. `images` is None where the whole folder is missing."""

    row: Row
    id: str
    images: Sequence[Photograph] | None
    grade: str
    patient: str | None = None
    eye: str = ""
    field: Field = Field.UNKNOWN
    oedema: str = ""
    gradable: str = ""
    camera: str = ""
    acquired: str | None = None


@dataclass(frozen=True)
class Listing:
    entries: Sequence[Entry]
    patients: Patients
    problems: Sequence[Problem] = ()


def joined(parts: Iterable[Listing]) -> Listing:
    """The parts of one data set, which know patients equally well."""
    first, *others = parts
    for part in others:
        first = Listing([*first.entries, *part.entries], first.patients, [*first.problems, *part.problems])
    return first


@dataclass(frozen=True)
class ImageFolder:
    """The images below a folder by name, whatever their case and extension."""

    path: Path
    images: Mapping[str, Sequence[PhotographFile]]

    def find(self, name: str) -> Sequence[PhotographFile] | None:
        return self.images.get(stem(name).casefold(), ()) if self.images else None

    @property
    def problems(self) -> tuple[Problem, ...]:
        message = "must be a folder with images, got none. Put the images of the data set there."
        return () if self.images else (Problem(str(self.path), message),)


def image_folder(path: Path) -> ImageFolder:
    images = defaultdict(list)
    for file in image_files(on_disk(path)):
        images[stem(file.name).casefold()].append(PhotographFile(file))
    return ImageFolder(path, images)


def image_files(folder: Path) -> list[Path]:
    """All images below a folder, but for hidden ones and what archivers leave behind."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.casefold() in IMAGE_SUFFIXES
        and not any(part.startswith((".", "__MACOSX")) for part in path.relative_to(folder).parts)
    ]


def stem(name: str) -> str:
    r"""The name of an image without folders and extension: `\train\1\1_l1.jpg` is `1_l1`, `7.1.jpg` is `7.1`."""
    file = PureWindowsPath(name)
    return file.stem if file.suffix.casefold() in IMAGE_SUFFIXES else file.name


def collect(listing: Listing, source: str, grades: Grades) -> tuple[Collection, tuple[Problem, ...]]:
    """The examples of a listing, what was set aside, and everything that is wrong with the rest."""
    entries, problems = _listed_once(listing.entries)
    problems = [*listing.problems, *problems]
    examples, set_aside = [], []
    for entry in entries:
        if reason := _why_set_aside(entry, grades):
            set_aside.append(SetAside(entry.images[0].name if entry.images else entry.id, reason))
        elif faults := list(_faults(entry, grades)):
            problems += [entry.row.problem(fault) for fault in faults]
        elif entry.images:
            examples.append(_example(entry, entry.images[0], source, grades))
    # A folder named after no known grade is one problem, however many images it holds.
    return Collection(tuple(examples), listing.patients, tuple(set_aside)), tuple(dict.fromkeys(problems))


def _listed_once(entries: Sequence[Entry]) -> tuple[list[Entry], list[Problem]]:
    """Of an image that is listed twice nobody knows which row is right: neither is used."""
    same = defaultdict(list)
    for entry in entries:
        same[entry.id.casefold()].append(entry)
    problems = [
        entry.row.problem(
            f"image {entry.id} must be listed once,"
            f" got it in rows {', '.join(str(other.row.number) for other in group)}. Keep the row that is right."
        )
        for group in same.values()
        if len(group) > 1
        for entry in group
    ]
    return [group[0] for group in same.values() if len(group) == 1], problems


def _why_set_aside(entry: Entry, grades: Grades) -> Reason | None:
    if GRADABLE.get(entry.gradable) is False:
        return Reason.UNGRADABLE
    grade = grades.get(entry.grade)
    return grade if isinstance(grade, Reason) else None


def _faults(entry: Entry, grades: Grades) -> Iterator[str]:
    if entry.grade not in grades:
        yield f"grade must be one of {_listed(grades)}, got {entry.grade!r}. Correct it, or map it in data.grading."
    for name, value, known in (
        ("eye", entry.eye, EYES),
        ("oedema", entry.oedema, OEDEMA),
        ("gradable", entry.gradable, GRADABLE),
    ):
        if value not in known:
            yield f"{name} of image {entry.id} must be one of {_listed(known)}, got {value!r}. Correct it."
    if entry.patient == "":
        yield f"patient of image {entry.id} must be named, got nothing. Name the patient, or remove the image."
    if entry.images is not None and len(entry.images) != 1:
        places = " and ".join(image.name for image in entry.images) or "none"
        yield f"image {entry.id} must be one file, got {places}. Keep one, or remove its row."


def _listed(known: Iterable[str]) -> str:
    return ", ".join(filter(None, known))


def _example(entry: Entry, image: Photograph, source: str, grades: Grades) -> Example:
    return Example(
        image=image,
        grade=int(grades[entry.grade]),
        patient=entry.id if entry.patient is None else entry.patient,
        eye=EYES[entry.eye],
        field=entry.field,
        oedema=OEDEMA[entry.oedema],
        camera=entry.camera or "unknown",
        acquired=entry.acquired,
        source=source,
    )
