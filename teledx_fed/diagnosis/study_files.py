"""Group the files of a batch into studies: a patient's folder, the rows of a table, or else one file each."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from teledx_fed.core.checks import one_of
from teledx_fed.core.clinical import PatientRecord
from teledx_fed.core.errors import ConfigurationError, DataError
from teledx_fed.core.examples import Eye, Field
from teledx_fed.core.reports import SILENT, Reporter
from teledx_fed.data.deidentification import pseudonym
from teledx_fed.data.eye_names import NamedEye, eye_in, pairs_of_eyes
from teledx_fed.data.tables import Row, on_disk, read_table
from teledx_fed.data.walk import Files, NotTakenReason, describe_not_taken, walk
from teledx_fed.diagnosis.intake import RECORD, PhotographUpload, StudyUpload, record_of


def study_uploads(paths: Sequence[Path], eye: Eye = Eye.UNKNOWN, reporter: Reporter = SILENT) -> list[StudyUpload]:
    """Make studies from files, folders and tables; `eye` is for files whose name or row states none.

    Each sub-folder of a folder in `paths` is one study. Each file in `paths`, or directly in such a folder, is a study.
    The reporter gets files that are left out, and files that look like both eyes of one patient in two studies. A
    `ConfigurationError` names a path that is neither file nor folder, a `DataError` a wrong row of a table. A table
    (`.csv`) has the columns `file`, relative to the table, and `study`, and may have `patient`, `eye`, `field` and the
    items of a patient's record.
    """
    studies: list[StudyUpload] = []
    for path in paths:
        if path.suffix.casefold() == ".csv":
            studies += _of_table(path, eye)
        elif path.is_dir():
            files = walk(path).readable()
            studies += of_folder(files, eye)
            if left_out := describe_not_taken(file for file in files.not_taken if file.why != NotTakenReason.OTHER):
                reporter.message(f"{path}: {left_out}")
        elif path.is_file():
            studies.append(_single_file(path, eye))
        else:
            raise ConfigurationError(f"{path} must be a file or folder, got neither. Correct the path.")
    _warn_of_split_patients(studies, reporter)
    return studies


def _warn_of_split_patients(studies: Sequence[StudyUpload], reporter: Reporter) -> None:
    folders: dict[str, list[str]] = defaultdict(list)
    for study in studies:
        if study.photographs[0].file.parent == Path(study.source):
            folders[study.source].append(study.key)
    for folder, names in folders.items():
        if pairs := pairs_of_eyes(names):
            more = f" (one of {len(pairs)} such pairs)" if len(pairs) > 1 else ""
            reporter.message(
                f"{folder}: {' and '.join(pairs[0])}{more} look like the right and left eye of one patient, but "
                "each is a study of its own. Put the files of each patient into a sub-folder, or name them in a table."
            )


def identity_of(study: StudyUpload, key: bytes, occurrence: int = 0) -> str:
    """Return the id of a study: a hash, with `key`, of the names that its sender uses, not of its pixels.

    `occurrence` is the number of earlier studies in the batch with the same names.
    """
    names = "\0".join((study.source, study.patient or "", study.key, str(occurrence)))
    return pseudonym(key, names)[:16]


def _single_file(file: Path, eye: Eye) -> StudyUpload:
    return StudyUpload(file.name, str(file.parent), (_by_name(file, eye),))


def of_folder(files: Files, eye: Eye = Eye.UNKNOWN) -> list[StudyUpload]:
    """Make studies of all files in a folder; a file that is no photograph is refused later, by name."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for file in sorted(files.images | files.dicom | files.others):
        folders[file.parent].append(file)
    studies = [_single_file(file, eye) for file in folders.pop(files.folder, ())]
    for folder, those in sorted(folders.items()):
        photographs = tuple(_by_name(file, eye) for file in those)
        studies.append(StudyUpload(str(folder.relative_to(files.folder)), str(files.folder), photographs))
    return studies


def _by_name(file: Path, eye: Eye, field: Field = Field.UNKNOWN) -> PhotographUpload:
    """Make an upload; `eye` is for a file whose name names no eye."""
    return PhotographUpload(file, eye if eye_in(file.name) == NamedEye() else Eye.UNKNOWN, field, file.name)


def _of_table(table: Path, eye: Eye) -> list[StudyUpload]:
    content = read_table(table, "file", "study")
    if content.problems:
        raise DataError("; ".join(map(str, content.problems)))
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in content.rows:
        groups[row["patient"], row["study"] or row["file"]].append(row)
    return [
        StudyUpload(name, str(table), tuple(_of_row(table.parent, row, eye) for row in rows), patient, _record(rows))
        for (patient, name), rows in groups.items()
    ]


def _of_row(folder: Path, row: Row, eye: Eye) -> PhotographUpload:
    file = _spelt(folder / row["file"])
    eye_code, field = row.code("eye") or Eye.UNKNOWN, row.code("field") or Field.UNKNOWN
    try:
        one_of("eye", eye_code, Eye, DataError)
        one_of("field", field, Field, DataError)
    except DataError as error:
        raise DataError(str(row.problem(str(error)))) from error
    if row.code("eye"):
        return PhotographUpload(file, Eye(eye_code), Field(field), file.name, row=row.number)
    return replace(_by_name(file, eye, Field(field)), row=row.number)


def _spelt(file: Path) -> Path:
    """Return a path as the disk spells it; unchanged after an error, which its result row gets later."""
    try:
        return on_disk(file)
    except OSError:
        return file


def _record(rows: Sequence[Row]) -> PatientRecord:
    """Merge the record of a study's rows; skip empty cells, and raise a `DataError` if two rows differ."""
    items: dict[str, str] = {}
    for row in rows:
        for name in RECORD:
            if (value := row.code(name)) and items.setdefault(name, value) != value:
                message = f"must state the {name} that another row of its study states, {items[name]!r}, got {value!r}."
                raise DataError(str(row.problem(f"{message} Correct it, or name another study.")))
    try:
        return record_of(items)
    except DataError as error:
        raise DataError(str(rows[0].problem(str(error)))) from error
