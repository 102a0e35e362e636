"""Entries of a data set, one per photograph, and the examples made from them."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath

from teledx_fed.core.examples import (
    Collection,
    Example,
    Eye,
    Field,
    Identification,
    NotTaken,
    Photograph,
    SetAside,
    SetAsideReason,
)
from teledx_fed.data.dicom import DicomPhotograph
from teledx_fed.data.photographs import PhotographFile
from teledx_fed.data.problems import Problem
from teledx_fed.data.tables import Row, on_disk, spelling
from teledx_fed.data.walk import SUFFIXES, Files, NotTakenReason, counted, walk

Grades = Mapping[str, int | SetAsideReason]
"""A grading scheme: the ICDR grade of a code, or the reason why a photograph with this code has none."""

NAMES = ("no_dr", "mild", "moderate", "severe", "proliferate_dr")
ICDR: Grades = {
    **{str(grade): grade for grade in range(len(NAMES))},
    **{name: grade for grade, name in enumerate(NAMES)},
    "": SetAsideReason.UNGRADED,
}
BINARY: Grades = {"not_referable": 0, "non_referable": 0, "referable": 2}
"""Such a grade states only whether the eye is referable."""

GRADABLE = {"1": True, "yes": True, "adequate": True, "": True, "0": False, "no": False, "inadequate": False}
OEDEMA = {"0": False, "no": False, "1": True, "2": True, "yes": True, "": None}
LEFT, RIGHT = ("left", "l", "os"), ("right", "r", "od")
EYES = {**dict.fromkeys(LEFT, Eye.LEFT), **dict.fromkeys(RIGHT, Eye.RIGHT), "": Eye.UNKNOWN}


@dataclass(frozen=True)
class ListingEntry:
    """A photograph in its data set's own codes.

    `images` are the files of this name, None where the whole folder is missing. `patient` is None where it is unknown.
    """

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
    """Content of a data set. `patients` is how it identifies patients; `files` are all files in its folders."""

    entries: Sequence[ListingEntry]
    patients: Identification
    problems: Sequence[Problem] = ()
    files: Sequence[Files] = ()


def joined(parts: Iterable[Listing]) -> Listing:
    """Join the parts of one data set, which all identify patients in the same way."""
    first, *other_parts = parts
    for part in other_parts:
        first = Listing(
            [*first.entries, *part.entries],
            first.patients,
            [*first.problems, *part.problems],
            [*first.files, *part.files],
        )
    return first


@dataclass(frozen=True)
class ImageFolder:
    """The images below a folder, by name without regard to letter case, Unicode normal form and extension."""

    path: Path
    files: Files
    images: Mapping[str, Sequence[Photograph]]

    def find(self, name: str) -> Sequence[Photograph] | None:
        return self.images.get(spelling(stem(name)), ()) if self.images else None

    @property
    def problems(self) -> tuple[Problem, ...]:
        message = "must be a folder with images, got none. Put the images of the data set there."
        return () if self.images or self.files.problems else (Problem(str(self.path), message),)


def image_folder(path: Path) -> ImageFolder:
    """List the images below a folder by name."""
    files = walk(on_disk(path))
    images: defaultdict[str, list[Photograph]] = defaultdict(list)
    for file in files.photographs:
        images[spelling(stem(file.name))].append(photograph(file, files))
    return ImageFolder(path, files, images)


def photograph(file: Path, files: Files) -> Photograph:
    """Return a file as a photograph, by its content: DICOM or another format."""
    return DicomPhotograph(file) if file in files.dicom else PhotographFile(file)


def stem(name: str) -> str:
    r"""Return the name of an image without folders and extension: `\train\1\1_l1.jpg` is `1_l1`, `7.1.jpg` is `7.1`."""
    file = PureWindowsPath(name)
    return file.stem if file.suffix.casefold() in SUFFIXES else file.name


def collect(
    listing: Listing, source: str, grades: Grades, oedema: Mapping[str, bool | None]
) -> tuple[Collection, tuple[Problem, ...]]:
    """Make the examples of a listing, set entries without a grade aside, and report every problem of the others."""
    entries, problems = _listed_once(listing.entries)
    problems = [*(problem for files in listing.files for problem in files.problems), *listing.problems, *problems]
    examples, set_aside = [], []
    for entry in entries:
        if reason := _why_set_aside(entry, grades):
            set_aside.append(SetAside(entry.images[0].name if entry.images else entry.id, reason))
        elif faults := list(_faults(entry, grades, oedema)):
            problems += [_problem(entry, fault) for fault in faults]
        elif entry.images:
            examples.append(_example(entry, entry.images[0], source, int(grades[entry.grade]), oedema[entry.oedema]))
    collection = Collection(
        tuple(examples), _patients(listing.patients, examples), tuple(set_aside), _not_taken(listing)
    )
    return collection, _merged(problems)


def _patients(how: Identification, examples: Sequence[Example]) -> Identification:
    identified = sum(example.patient_known for example in examples)
    return how if identified == len(examples) else how.partly if identified else Identification.UNKNOWN


def _problem(entry: ListingEntry, fault: str) -> Problem:
    return entry.row.problem(fault, [image.name for image in entry.images or ()])


def _merged(problems: Iterable[Problem]) -> tuple[Problem, ...]:
    """Merge equal problems: a folder whose name is not a grade is one problem, whatever the number of photographs."""
    same: defaultdict[Problem, list[str]] = defaultdict(list)
    for problem in problems:
        same[problem] += problem.photographs
    return tuple(replace(problem, photographs=tuple(dict.fromkeys(names))) for problem, names in same.items())


def _not_taken(listing: Listing) -> tuple[NotTaken, ...]:
    """List files that were not taken, among them photographs that the data set does not name."""
    listed = {image.name for entry in listing.entries for image in entry.images or ()}
    listed |= {name for problem in listing.problems for name in problem.photographs}
    photographs = (file for files in listing.files for file in files.photographs)
    unlisted = [(file, NotTakenReason.UNLISTED) for file in photographs if str(file) not in listed]
    return (*(group for files in listing.files for group in files.not_taken), *counted(unlisted))


def _listed_once(entries: Sequence[ListingEntry]) -> tuple[list[ListingEntry], list[Problem]]:
    """Leave out every image that is listed twice, since no row is known to be the right one."""
    same = defaultdict(list)
    for entry in entries:
        same[spelling(entry.id)].append(entry)
    problems = [
        _problem(
            entry,
            f"image {entry.id} must be listed once, got it in {_rows(group)}. Keep the row that is right, or give each "
            "photograph a name of its own.",
        )
        for group in same.values()
        if len(group) > 1
        for entry in group
    ]
    return [group[0] for group in same.values() if len(group) == 1], problems


def _rows(entries: Sequence[ListingEntry]) -> str:
    """List the rows of entries, with their files if there is more than one file."""
    if len({entry.row.file for entry in entries}) == 1:
        return f"rows {', '.join(str(entry.row.number) for entry in entries)}"
    first, second, *others = (entry.row.file for entry in entries)
    return f"{first} and {second}" + (f" and {len(others)} other files" if others else "")


def _why_set_aside(entry: ListingEntry, grades: Grades) -> SetAsideReason | None:
    if GRADABLE.get(entry.gradable) is False:
        return SetAsideReason.UNGRADABLE
    grade = grades.get(entry.grade)
    return grade if isinstance(grade, SetAsideReason) else None


def _faults(entry: ListingEntry, grades: Grades, oedema: Mapping[str, bool | None]) -> Iterator[str]:
    if entry.grade not in grades:
        yield (
            f"grade must be one of {_listed(grades)}, got {entry.grade!r}."
            f" Correct it, or write {_mapping('grading', entry.grade, 'GRADE')}, where GRADE is an ICDR grade, 0 to 4."
        )
    if entry.oedema not in oedema:
        yield (
            f"oedema of image {entry.id} must be one of {_listed(oedema)}, got {entry.oedema!r}."
            f" Correct it, or write {_mapping('oedema', entry.oedema, 'WORD')}, where WORD is yes, no or unknown."
        )
    for name, value, choices in (("eye", entry.eye, EYES), ("gradable", entry.gradable, GRADABLE)):
        if value not in choices:
            yield f"{name} of image {entry.id} must be one of {_listed(choices)}, got {value!r}. Correct it."
    if entry.patient == "":
        yield f"patient of image {entry.id} must be named, got nothing. Name the patient, or remove the image."
    if entry.images is not None and len(entry.images) != 1:
        places = " and ".join(image.name for image in entry.images) or "none"
        remedy = "Keep one" if entry.images else "Put the photograph there"
        yield f"image {entry.id} must be one file, got {places}. {remedy}, or remove its row."


def _mapping(setting: str, word: str, meaning: str) -> str:
    """Write a mapping as YAML, whatever characters `word` contains."""
    yaml = f"{setting}: {{{json.dumps(word, ensure_ascii=False)}: {meaning}}}"
    return f"{yaml} where this hospital is described (site.yaml, or the file of hospitals=FILE)"


def _listed(choices: Iterable[str]) -> str:
    return ", ".join(filter(None, choices))


def _example(entry: ListingEntry, image: Photograph, source: str, grade: int, oedema: bool | None) -> Example:
    return Example(
        image=image,
        grade=grade,
        patient=entry.id if entry.patient is None else entry.patient,
        eye=EYES[entry.eye],
        field=entry.field,
        oedema=oedema,
        camera=entry.camera or "unknown",
        acquired=entry.acquired,
        source=source,
        patient_known=entry.patient is not None,
    )
