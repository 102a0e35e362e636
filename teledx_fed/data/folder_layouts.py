"""Layouts of a hospital's own photographs: DICOM files, any files with a table, or one folder per grade."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path, PureWindowsPath

from teledx_fed.config.data import SourceSettings
from teledx_fed.core.checks import must
from teledx_fed.core.errors import ConfigurationError, DataError
from teledx_fed.core.examples import Identification
from teledx_fed.data.dicom import DicomPhotograph, read_header
from teledx_fed.data.encodings import composed
from teledx_fed.data.listing import EYES, Listing, ListingEntry
from teledx_fed.data.photographs import PhotographFile
from teledx_fed.data.problems import Problem
from teledx_fed.data.tables import Row, code, on_disk, read_table
from teledx_fed.data.walk import Files, walk


def dicom(root: Path, source: SourceSettings) -> Listing:
    """List DICOM files below a folder that `grades.csv` grades; their headers give patient, eye, field and camera."""
    return _listing_by_table(root, _dicom_entry)


def table(root: Path, source: SourceSettings) -> Listing:
    """List photographs of any kind below a folder by `grades.csv`, with a row for each.

    Its columns are file and grade, and any of patient, eye, oedema, gradable and camera. Values that the table lacks
    come from the header of a DICOM file.
    """
    return _listing_by_table(root, _table_entry)


def _listing_by_table(root: Path, entry: Callable[[Row, str, Path, Files], ListingEntry]) -> Listing:
    table = on_disk(root / "grades.csv")
    labels, files = read_table(table, "file", "grade"), walk(root, [table])
    entries, problems = [], list(labels.problems)
    for row in labels.rows:
        name = PureWindowsPath(row["file"]).as_posix()
        file = on_disk(root / name)
        try:
            entries.append(entry(row, name, file, files))
        except DataError as error:
            problems.append(row.problem(str(error), [str(file)]))
    return Listing(entries, Identification.GIVEN, problems, [files])


def _dicom_entry(row: Row, name: str, file: Path, files: Files) -> ListingEntry:
    return replace(_by_header(row, name, file, row.code("grade")), oedema=row.code("oedema"))


def _table_entry(row: Row, name: str, file: Path, files: Files) -> ListingEntry:
    if file in files.dicom:
        entry = _by_header(row, name, file, row.code("grade"))
    else:
        entry = ListingEntry(row, name, [PhotographFile(file)] if file.is_file() else [], row.code("grade"))
    return replace(
        entry,
        patient=row["patient"] if "patient" in row.cells else entry.patient or None,
        eye=row.code("eye") or entry.eye,
        oedema=row.code("oedema"),
        gradable=row.code("gradable"),
        camera=row["camera"] or entry.camera,
    )


def _by_header(row: Row, name: str, file: Path, grade: str) -> ListingEntry:
    header = read_header(file)
    return ListingEntry(
        row,
        name,
        [DicomPhotograph(file)],
        grade=grade,
        patient=header.patient,
        eye=header.eye if header.eye in EYES else "",
        field=header.field,
        camera=header.camera,
        acquired=header.acquired,
    )


def folder(root: Path, source: SourceSettings) -> Listing:
    """List photographs in one sub-folder per grade. Patient and eye come from `file_pattern`, or from DICOM headers."""
    files = walk(root)
    groups = {file: _pattern_groups(file, source.file_pattern) for file in files.photographs}
    entries: list[ListingEntry] = []
    problems = _mismatches(root, [file for file, group in groups.items() if group is None], len(groups))
    for file, group in groups.items():
        try:
            entries += [_folder_entry(root, file, files, group)] if group is not None else []
        except DataError as error:
            problems.append(Problem(str(file), str(error), photographs=(str(file),)))
    return Listing(entries, Identification.GIVEN, problems, [files])


def _folder_entry(root: Path, file: Path, files: Files, group: Mapping[str, str]) -> ListingEntry:
    """Make the entry of a photograph in a grade's folder. The file's name takes precedence over its header."""
    name = file.relative_to(root)
    row, grade = Row(str(root / name.parts[0])), code(name.parts[0])
    if file in files.dicom:
        entry = _by_header(row, str(name), file, grade)
    else:
        entry = ListingEntry(row, str(name), [PhotographFile(file)], grade)
    patient, eye = group.get("patient") or entry.patient or None, code(group.get("eye", "")) or entry.eye
    return replace(entry, patient=patient, eye=eye)


def _pattern_groups(file: Path, file_pattern: str | None) -> Mapping[str, str] | None:
    """Return patient and eye by the pattern; None where it does not match the file's name."""
    if file_pattern is None:
        return {}
    match = pattern_of(file_pattern).search(composed(file.name))
    groups = match.groupdict("") if match else {}
    return groups if groups.get("patient") else None


def _mismatches(root: Path, files: Sequence[Path], photographs: int) -> list[Problem]:
    if not files:
        return []
    got = f"got {len(files)} of {photographs} that it does not fit, the first {files[0].relative_to(root)}"
    message = f"file_pattern must find the patient in the name of every photograph, {got}."
    return [Problem(str(root), f"{message} Correct it, or move these elsewhere.", photographs=tuple(map(str, files)))]


@cache
def pattern_of(file_pattern: str) -> re.Pattern[str]:
    """Compile a pattern of file names, which must have a group named patient."""
    remedy = r"For 12_left.jpg write file_pattern: '(?P<patient>\d+)_(?P<eye>left|right)'"
    try:
        pattern = re.compile(file_pattern)
    except re.error as error:
        raise ConfigurationError(
            f"file_pattern must be a regular expression, got {file_pattern!r}: {error}. {remedy}"
        ) from error
    must("patient" in pattern.groupindex, "file_pattern", "hold a group named patient", file_pattern, remedy)
    return pattern


FOLDER_LAYOUTS = (dicom, table, folder)
