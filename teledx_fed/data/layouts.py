"""The data sets as their downloads lie on disk: which file says what of which photograph."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path, PureWindowsPath
from typing import TypeVar
from zipfile import BadZipFile

import numpy as np

from teledx_fed.config.data import OEDEMA_WORDS, SourceSettings
from teledx_fed.core.checks import must, one_of
from teledx_fed.core.examples import Collection, Field, Patients
from teledx_fed.data.dicom import DicomPhotograph, about
from teledx_fed.data.encodings import composed
from teledx_fed.data.listing import (
    BINARY,
    EYES,
    ICDR,
    OEDEMA,
    Entry,
    Listing,
    collect,
    image_folder,
    joined,
    stem,
)
from teledx_fed.data.pairs import messidor2_pairs
from teledx_fed.data.photographs import ArrayPhotograph, PhotographFile
from teledx_fed.data.problems import Problem
from teledx_fed.data.tables import Row, code, first_on_disk, on_disk, read_table
from teledx_fed.data.walk import Files, in_words, unreadable, walk

SIDES = {"l": ("left", "right"), "r": ("right", "left")}
"""What DeepDRiD's names say: the eye, and the other one."""

Value = TypeVar("Value")


def aptos2019(root: Path) -> Listing:
    labels = read_table(root / "train.csv", "id_code", "diagnosis")
    images = image_folder(root / "train_images")
    entries = [
        Entry(row, stem(row["id_code"]), images.find(row["id_code"]), grade=row.code("diagnosis"))
        for row in labels.rows
    ]
    return Listing(entries, Patients.UNKNOWN, labels.problems + images.problems, [images.files])


def eyepacs(root: Path) -> Listing:
    labels = read_table(root / "trainLabels.csv", "image", "level")
    images = image_folder(root / "train")
    entries = []
    for row in labels.rows:
        image = stem(row["image"])
        patient, _, eye = image.rpartition("_")
        entries.append(Entry(row, image, images.find(image), grade=row.code("level"), patient=patient, eye=code(eye)))
    return Listing(entries, Patients.GIVEN, labels.problems + images.problems, [images.files])


def messidor2(root: Path) -> Listing:
    """Patients from the list of pairs where it is there, else inferred from the names of the images."""
    columns = ("image_id", "adjudicated_dr_grade", "adjudicated_dme", "adjudicated_gradable")
    labels = read_table(root / "messidor_data.csv", *columns)
    images = image_folder(root / "IMAGES")
    pairs = messidor2_pairs(root / "messidor-2.csv", [stem(row["image_id"]) for row in labels.rows])
    entries = []
    for row in labels.rows:
        image = stem(row["image_id"])
        patient, eye = pairs.owner(image)
        entry = Entry(
            row,
            image,
            images.find(image),
            grade=row.code("adjudicated_dr_grade"),
            patient=patient,
            eye=eye,
            field=Field.MACULA,
            oedema=row.code("adjudicated_dme"),
            gradable=row.code("adjudicated_gradable"),
        )
        entries.append(entry)
    return Listing(entries, pairs.patients, labels.problems + pairs.problems + images.problems, [images.files])


def idrid(root: Path) -> Listing:
    parts = (("a", "Training"), ("b", "Testing"))
    return joined(_idrid(root / "B. Disease Grading", letter, name) for letter, name in parts)


def _idrid(root: Path, letter: str, name: str) -> Listing:
    table = root / "2. Groundtruths" / f"{letter}. IDRiD_Disease Grading_{name} Labels.csv"
    labels = read_table(table, "Image name", "Retinopathy grade", "Risk of macular edema")
    images = image_folder(root / "1. Original Images" / f"{letter}. {name} Set")
    entries = [
        Entry(
            row,
            f"{name.casefold()}/{stem(row['Image name'])}",
            images.find(row["Image name"]),
            grade=row.code("Retinopathy grade"),
            field=Field.MACULA,
            oedema=row.code("Risk of macular edema"),
        )
        for row in labels.rows
    ]
    return Listing(entries, Patients.UNKNOWN, labels.problems + images.problems, [images.files])


def ddr(root: Path) -> Listing:
    return joined(_ddr(root / "DR_grading", split) for split in ("train", "valid", "test"))


def _ddr(root: Path, split: str) -> Listing:
    labels = read_table(root / f"{split}.txt", "image", "grade", header=False)
    images = image_folder(root / split)
    entries = [
        Entry(
            row,
            f"{split}/{stem(row['image'])}",
            images.find(row["image"]),
            grade=row.code("grade"),
            gradable="no" if row.code("grade") == "5" else "yes",
        )
        for row in labels.rows
    ]
    return Listing(entries, Patients.UNKNOWN, labels.problems + images.problems, [images.files])


def deepdrid(root: Path) -> Listing:
    folder = root / "regular_fundus_images"
    return joined(_deepdrid(folder / f"regular-fundus-{split}") for split in ("training", "validation"))


def _deepdrid(folder: Path) -> Listing:
    """The eye's own grade. `Overall quality` is not used: the poor half of the images was graded as well."""
    labels = read_table(
        folder / f"{folder.name}.csv", "patient_id", "image_path", "left_eye_DR_Level", "right_eye_DR_Level"
    )
    images = image_folder(folder / "Images")
    entries, problems = [], [*labels.problems, *images.problems]
    for row in labels.rows:
        image = stem(row["image_path"])
        grades = {"left": row.code("left_eye_DR_Level"), "right": row.code("right_eye_DR_Level")}
        named_after = re.search(r"_([lr])\d*$", image.casefold())
        if named_after is None:
            message = f"image_path must be named after its eye, as 12_l1 or 12_r1 are, got {image}. Correct it."
            problems.append(row.problem(message, [file.name for file in images.find(image) or ()]))
            continue
        named, other = SIDES[named_after[1]]
        eye = named if grades[named] else other  # 56_r3 and 56_l3 are named after the other eye
        entry = Entry(
            row,
            f"{folder.name}/{image}",
            images.find(image),
            grade=grades[eye],
            patient=row.code("patient_id"),
            eye=eye,
        )
        entries.append(entry)
    return Listing(entries, Patients.GIVEN, problems, [images.files])


def brset(root: Path) -> Listing:
    table = first_on_disk(root / "labels_brset.csv", root / "labels.csv")
    labels = read_table(table, "image_id", "patient_id", "DR_ICDR")
    images = image_folder(root / "fundus_photos")
    eyes = {"1": "right", "2": "left"}
    entries = [
        Entry(
            row,
            stem(row["image_id"]),
            images.find(row["image_id"]),
            grade=row.code("DR_ICDR"),
            patient=row.code("patient_id"),
            eye=eyes.get(row.code("exam_eye"), row.code("exam_eye")),
            field=Field.MACULA,
            oedema=row.code("macular_edema"),
            gradable=row.code("quality"),
            camera=row["camera"],
        )
        for row in labels.rows
    ]
    return Listing(entries, Patients.GIVEN, labels.problems + images.problems, [images.files])


def mbrset(root: Path) -> Listing:
    labels = read_table(root / "labels_mbrset.csv", "file", "final_icdr")
    images = image_folder(root / "images")
    entries = [
        Entry(
            row,
            stem(row["file"]),
            images.find(row["file"]),
            grade=row.code("final_icdr"),
            patient=stem(row["file"]).rpartition(".")[0],
            eye=row.code("laterality"),
            oedema=row.code("final_edema"),
            gradable=row.code("final_quality"),
            camera="Phelcom Eyer",
        )
        for row in labels.rows
    ]
    return Listing(entries, Patients.GIVEN, labels.problems + images.problems, [images.files])


def retinamnist(root: Path) -> Listing:
    """The three splits of the one file as one set: shards are split anew, by site."""
    sizes = ("_224", "_128", "_64", "")
    file = root if root.suffix == ".npz" else first_on_disk(*(root / f"retinamnist{size}.npz" for size in sizes))
    try:
        with np.load(file) as arrays:
            labels = {split: arrays[f"{split}_labels"] for split in ("train", "val", "test")}
        entries = [
            Entry(Row(str(file)), f"{split}/{index}", [ArrayPhotograph(file, f"{split}_images", index)], str(grade))
            for split in labels
            for index, grade in enumerate(labels[split].reshape(len(labels[split])))
        ]
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        problem = Problem(str(file), f"must be a RetinaMNIST file, got {error}. Download it again.")
        return Listing([], Patients.UNKNOWN, [problem])
    return Listing(entries, Patients.UNKNOWN)


def dicom(root: Path) -> Listing:
    """DICOM files below a folder, graded in a table; patient, eye, field and camera as their headers say."""
    table = on_disk(root / "grades.csv")
    labels, files = read_table(table, "file", "grade"), walk(root, [table])
    entries, problems = [], list(labels.problems)
    for row in labels.rows:
        place = PureWindowsPath(row["file"]).as_posix()
        file = on_disk(root / place)
        try:
            entries.append(replace(_dicom(row, place, file, row.code("grade")), oedema=row.code("oedema")))
        except ValueError as error:
            problems.append(row.problem(str(error), [str(file)]))
    return Listing(entries, Patients.GIVEN, problems, [files])


def _dicom(row: Row, place: str, file: Path, grade: str) -> Entry:
    said = about(file)
    return Entry(
        row,
        place,
        [DicomPhotograph(file)],
        grade=grade,
        patient=said.patient,
        eye=said.eye if said.eye in EYES else "",
        field=said.field,
        camera=said.camera,
        acquired=said.acquired,
    )


def table(root: Path) -> Listing:
    """Photographs of any kind below a folder, and a table with a row for each: file, grade, and, where it has these
    columns, patient, eye, oedema, gradable and camera. What it leaves out of a DICOM file the header says."""
    table = on_disk(root / "grades.csv")
    labels, files = read_table(table, "file", "grade"), walk(root, [table])
    entries, problems = [], list(labels.problems)
    for row in labels.rows:
        place = PureWindowsPath(row["file"]).as_posix()
        file = on_disk(root / place)
        try:
            entries.append(_tabled(row, place, file, files))
        except ValueError as error:
            problems.append(row.problem(str(error), [str(file)]))
    return Listing(entries, Patients.GIVEN, problems, [files])


def _tabled(row: Row, place: str, file: Path, files: Files) -> Entry:
    if file in files.dicom:
        entry = _dicom(row, place, file, row.code("grade"))
    else:
        entry = Entry(row, place, [PhotographFile(file)] if file.is_file() else [], row.code("grade"))
    return replace(
        entry,
        patient=row["patient"] if "patient" in row.cells else entry.patient or None,
        eye=row.code("eye") or entry.eye,
        oedema=row.code("oedema"),
        gradable=row.code("gradable"),
        camera=row["camera"] or entry.camera,
    )


def folder(root: Path, file_pattern: str | None = None) -> Listing:
    """One sub-folder a grade; patient and eye from the names of the files, where a pattern says how, or from the
    headers of DICOM files."""
    files = walk(root)
    names = {file: _named(file, file_pattern) for file in files.photographs}
    entries: list[Entry] = []
    problems = _unfitting(root, [file for file, named in names.items() if named is None], len(names))
    for file, named in names.items():
        try:
            entries += [_filed(root, file, files, named)] if named is not None else []
        except ValueError as error:
            problems.append(Problem(str(file), str(error), photographs=(str(file),)))
    return Listing(entries, Patients.GIVEN, problems, [files])


def _filed(root: Path, file: Path, files: Files, named: Mapping[str, str]) -> Entry:
    """A photograph in a grade's folder. What its name says of it comes before what its header does."""
    place = file.relative_to(root)
    row, grade = Row(str(root / place.parts[0])), code(place.parts[0])
    if file in files.dicom:
        entry = _dicom(row, str(place), file, grade)
    else:
        entry = Entry(row, str(place), [PhotographFile(file)], grade)
    patient, eye = named.get("patient") or entry.patient or None, code(named.get("eye", "")) or entry.eye
    return replace(entry, patient=patient, eye=eye)


def _named(file: Path, file_pattern: str | None) -> Mapping[str, str] | None:
    """Patient and eye as the pattern finds them in a name; None where it does not fit."""
    if file_pattern is None:
        return {}
    match = pattern_of(file_pattern).search(composed(file.name))
    named = match.groupdict("") if match else {}
    return named if named.get("patient") else None


def _unfitting(root: Path, files: Sequence[Path], photographs: int) -> list[Problem]:
    if not files:
        return []
    got = f"got {len(files)} of {photographs} that it does not fit, the first {files[0].relative_to(root)}"
    message = f"file_pattern must find the patient in the name of every photograph, {got}."
    return [Problem(str(root), f"{message} Correct it, or move these elsewhere.", photographs=tuple(map(str, files)))]


@cache
def pattern_of(file_pattern: str) -> re.Pattern[str]:
    """Of file names, with a group named patient."""
    remedy = r"For 12_left.jpg write file_pattern: '(?P<patient>\d+)_(?P<eye>left|right)'"
    try:
        pattern = re.compile(file_pattern)
    except re.error as error:
        raise ValueError(
            f"file_pattern must be a regular expression, got {file_pattern!r}: {error}. {remedy}"
        ) from error
    must("patient" in pattern.groupindex, "file_pattern", "hold a group named patient", file_pattern, remedy)
    return pattern


LAYOUTS: dict[str, Callable[[Path], Listing]] = {
    layout.__name__: layout
    for layout in (
        aptos2019,
        eyepacs,
        messidor2,
        idrid,
        ddr,
        deepdrid,
        brset,
        mbrset,
        retinamnist,
        dicom,
        table,
        folder,
    )
}


def read(name: str, source: SourceSettings) -> tuple[Collection, tuple[Problem, ...]]:
    """What a source holds, and everything that is wrong with it."""
    one_of(f"data.sources.{name}.layout", source.layout, LAYOUTS)
    root = Path(source.root)
    try:
        listing = _listing(name, source, root)
    except OSError as error:
        listing = Listing([], Patients.UNKNOWN, [unreadable(Path(error.filename or root), error)])
    return collect(listing, name, {**ICDR, **BINARY, **_coded("grading", source.grading)}, _oedema(source.oedema))


def _listing(name: str, source: SourceSettings, root: Path) -> Listing:
    if not (source.root and root.exists()):
        got = f"must be where the data set lies, got {source.root!r}"
        message = f"{got}. Correct the path: data_root=PATH, or root: PATH where this hospital is described."
        return Listing([], Patients.UNKNOWN, [Problem(f"data.sources.{name}.root", message)])
    listing = folder(root, source.file_pattern) if source.layout == "folder" else LAYOUTS[source.layout](root)
    if listing.entries or listing.problems or any(files.problems for files in listing.files):
        return listing
    left = in_words(left for files in listing.files for left in files.not_taken)
    message = (
        f"must hold graded photographs, got none{left and f'; {left}'}. Correct the path, or choose another layout."
    )
    return replace(listing, problems=[Problem(source.root, message)])


def _oedema(own: Mapping[str, str]) -> Mapping[str, bool | None]:
    return {**OEDEMA, **{word: OEDEMA_WORDS[value.casefold()] for word, value in _coded("oedema", own).items()}}


def _coded(name: str, own: Mapping[str, Value]) -> dict[str, Value]:
    """A hospital's own codes as tables are read; of two that are read alike nobody knows which counts."""
    coded = {code(word): value for word, value in own.items()}
    must(len(coded) == len(own), name, "name each code once, whatever its case", list(own), "Leave one of them.")
    return coded
