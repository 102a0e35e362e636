"""Read tables that data sets and hospitals export. Each row is read, or reported by its number."""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from teledx_fed.core.errors import DataError
from teledx_fed.data.encodings import composed, decode
from teledx_fed.data.problems import Problem

NOT_AVAILABLE = ("nan", "na", "n/a")
DELIMITERS = (",", ";", "\t", "|")
DECLARED = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
"""The first line of a file that sets the delimiter for Excel."""

BLANK = " \t\u00a0"
LINE_BREAK = re.compile(r"\r\n?|\n")

Cells = Sequence[str]


def code(text: str) -> str:
    """Return a cell as a code: `2.0` is `2`, `No_DR ` is `no_dr`, `NaN` and the like are empty."""
    bare = re.sub(r"\.0+$", "", composed(text).strip().casefold())
    return "" if bare in NOT_AVAILABLE else bare


@dataclass(frozen=True)
class Row:
    """A line of a table, or, without a number, a file or folder.

    Problems with names that are not ASCII end with `note`.
    """

    file: str
    number: int | None = None
    cells: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    def __getitem__(self, column: str) -> str:
        """Return the cell, empty where the table has no such column: `read_table` checks the required ones."""
        return self.cells.get(column.casefold(), "")

    def code(self, column: str) -> str:
        return code(self[column])

    def problem(self, message: str, photographs: Sequence[str] = ()) -> Problem:
        note = "" if message.isascii() else self.note
        return Problem(self.file, message + note, self.number, tuple(photographs))


@dataclass(frozen=True)
class Table:
    """Rows of a table, and the problems of those that were refused."""

    rows: tuple[Row, ...] = ()
    problems: tuple[Problem, ...] = ()


class _InvalidTable(DataError):
    """A table or a row that cannot be read."""

    def __init__(self, message: str, row: int | None = None) -> None:
        super().__init__(message)
        self.row = row


def on_disk(path: Path) -> Path:
    """Find `path` on disk: letter case and Unicode normal form differ between copies of one data set."""
    if path.exists() or path == path.parent:
        return path
    folder = on_disk(path.parent)
    names = sorted(folder.iterdir()) if folder.is_dir() else []
    return next((other for other in names if spelling(other.name) == spelling(path.name)), folder / path.name)


def spelling(name: str) -> str:
    """Normalise a name, so that names differing only in letter case or Unicode normal form are equal."""
    return composed(name).casefold()


def spellings(names: Iterable[str]) -> frozenset[str]:
    """Return all spellings of these patients: as names, and as the codes that layouts make of them."""
    return frozenset(spelt for name in names for spelt in (spelling(name.strip()), code(name)) if spelt)


def first_on_disk(*paths: Path) -> Path:
    """Return the first path that exists; if none does, the first one, to report it as missing."""
    return next((path for path in map(on_disk, paths) if path.exists()), paths[0])


def read_table(path: Path, *columns: str, header: bool = True) -> Table:
    """Read a table that has at least `columns`, or without a header exactly these in this order.

    A table with unclear quotes, encoding or header is refused as a whole; a row of another length is refused alone.
    """
    path = on_disk(path)
    if not path.is_file():
        return _refused(path, "must exist, got no such file. Put the table of the data set there.")
    try:
        text = decode(path.read_bytes())
        names, records = _headed(text.content, columns) if header else _headless(text.content, columns)
    except OSError as error:
        return _refused(path, f"must be a readable table, got {error.strerror}. Check its permissions.")
    except _InvalidTable as error:
        return _refused(path, str(error), error.row)
    except DataError as error:
        return _refused(path, str(error))
    required = [names.index(column.casefold()) for column in columns]
    rows = [(number, cells, _fault(cells, len(names), required)) for number, cells in records]
    return Table(
        tuple(Row(str(path), number, _named(names, cells), text.note) for number, cells, fault in rows if not fault),
        tuple(Problem(str(path), fault, number) for number, _, fault in rows if fault),
    )


def _fault(cells: Cells, width: int, required: Sequence[int]) -> str | None:
    if len(cells) < width or any(cells[width:]):
        remedy = "Complete the row, or put a cell that holds the delimiter in quotes."
        return f"must have {width} cells, got {len(cells)}. {remedy}"
    if any(LINE_BREAK.search(cells[column]) for column in required):
        return "must be one line, got a name or code with a line break. Close its quote, or remove the break."
    return None


def _named(names: Cells, cells: Cells) -> Mapping[str, str]:
    return {name: cell for name, cell in zip(names, cells, strict=False) if name}


def _headed(text: str, columns: Cells) -> tuple[Cells, Sequence[tuple[int, Cells]]]:
    """Return the names of columns and the records, by the delimiter that gives all of `columns`."""
    required = {column.casefold() for column in columns}
    delimiters = _declared(text) or DELIMITERS
    delimiter = next((mark for mark in delimiters if required <= set(_names(text, mark))), None)
    names = _names(text, delimiter or max(delimiters, key=lambda mark: len(_names(text, mark))))
    if delimiter is None:
        missing = ", ".join(column for column in columns if column.casefold() not in names)
        got = ", ".join(filter(None, names)) or "an empty file"
        raise _InvalidTable(f"must have the column {missing}, got {got}. Rename the column.")
    twice = [name for name, count in Counter(filter(None, names)).items() if count > 1]
    if twice:
        raise _InvalidTable(
            f"must have each column once, got {', '.join(twice)} again. Rename or remove what is not meant."
        )
    return names, list(_records(text, delimiter))[1:]


def _headless(text: str, columns: Cells) -> tuple[Cells, Sequence[tuple[int, Cells]]]:
    """Return `columns` and the records, by a delimiter that gives all rows that many cells, or else the first row's."""
    names = [column.casefold() for column in columns]
    delimiters = _declared(text) or (*DELIMITERS, " ")
    for mark in delimiters:
        try:
            records = list(_records(text, mark))
        except _InvalidTable:
            continue
        if all(len(cells) >= len(columns) and not any(cells[len(columns) :]) for _, cells in records):
            return names, records
    first = next(filter(str.strip, text.splitlines()), "")
    return names, list(_records(text, next((mark for mark in delimiters if mark in first), delimiters[0])))


def _declared(text: str) -> tuple[str, ...]:
    match = DECLARED.fullmatch(text[:16].splitlines()[0].strip(" ")) if text else None
    return (match[1],) if match else ()


def _names(text: str, delimiter: str) -> Cells:
    """Return the names of the columns in lower case, without unnamed ones at the end."""
    try:
        names = [name.casefold() for name in next(_records(text, delimiter), (0, []))[1]]
    except _InvalidTable:
        return []
    while names and not names[-1]:
        names.pop()
    return names


def _records(text: str, delimiter: str) -> Iterator[tuple[int, Cells]]:
    """Yield row numbers and stripped cells, without empty rows."""
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    number = 1
    while True:
        try:
            line = next(reader, None)
        except csv.Error as error:
            remedy = "Write a quote inside a cell twice, and close each that is open."
            raise _InvalidTable(
                f"must have quotes that open and close a cell, got {error}. {remedy}", number
            ) from error
        if line is None:
            return
        if any(delimiter in below for cell in line for below in LINE_BREAK.split(cell)[1:]):
            got = f"a quoted cell that continues to row {reader.line_num}"
            raise _InvalidTable(
                f"must end on its own line, got {got}. Close its quote, or remove its line breaks.", number
            )
        cells = [composed(cell).strip(BLANK) for cell in line]
        if any(cells) and not (number == 1 and DECLARED.fullmatch(delimiter.join(cells))):
            yield number, cells
        number = reader.line_num + 1


def _refused(path: Path, message: str, row: int | None = None) -> Table:
    return Table(problems=(Problem(str(path), message, row),))
