"""Tables as challenges and hospitals export them: byte-order marks, `;` or `,`, stray spaces, empty rows."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from teledx_fed.data.problems import Problem

NOT_AVAILABLE = ("nan", "na", "n/a")


def code(text: str) -> str:
    """A cell as a code: `2.0` is `2`, `No_DR ` is `no_dr`, what is not available is empty."""
    bare = re.sub(r"\.0+$", "", text.strip().casefold())
    return "" if bare in NOT_AVAILABLE else bare


@dataclass(frozen=True)
class Row:
    """A line of a table; or, with no number, what the name of a file or folder says."""

    file: str
    number: int | None = None
    cells: Mapping[str, str] = field(default_factory=dict)

    def __getitem__(self, column: str) -> str:
        """Empty where the table has no such column: what must be there is asked for in `read_table`."""
        return self.cells.get(column.casefold(), "")

    def code(self, column: str) -> str:
        return code(self[column])

    def problem(self, message: str) -> Problem:
        return Problem(self.file, message, self.number)


@dataclass(frozen=True)
class Table:
    rows: tuple[Row, ...] = ()
    problems: tuple[Problem, ...] = ()


def on_disk(path: Path) -> Path:
    """`path` as this disk spells it: upper and lower case differ between copies of one data set."""
    if path.exists() or path == path.parent:
        return path
    folder = on_disk(path.parent)
    names = sorted(folder.iterdir()) if folder.is_dir() else []
    return next((other for other in names if other.name.casefold() == path.name.casefold()), folder / path.name)


def first_on_disk(*paths: Path) -> Path:
    """The first path that exists; if none does, the first, to be reported as missing."""
    return next((found for path in paths if (found := on_disk(path)).exists()), paths[0])


def read_table(path: Path, *columns: str, header: bool = True) -> Table:
    """The rows of a table that has at least `columns`; without a header, exactly these in this order."""
    path = on_disk(path)
    if not path.is_file():
        return _refused(path, "must exist, got no such file. Put the table of the data set there.")
    try:
        lines = list(_lines(path))
    except (OSError, csv.Error) as error:
        return _refused(path, f"must be a readable table, got {error}. Copy it again from its source.")
    names = list(columns)
    if header:
        names = [name.casefold() for name in lines.pop(0)[1]] if lines else []
    missing = [column for column in columns if column.casefold() not in names]
    if missing:
        return _refused(
            path, f"must have the column {', '.join(missing)}, got {', '.join(names) or 'an empty file'}. Name it so."
        )
    return Table(tuple(Row(str(path), number, dict(zip(names, cells, strict=False))) for number, cells in lines))


def _lines(path: Path) -> Iterator[tuple[int, Sequence[str]]]:
    """Line numbers and stripped cells of all lines but empty ones."""
    # Free-text columns come in any encoding; names and codes are ASCII.
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        delimiter = _delimiter(next(filter(str.strip, file), ""))
        file.seek(0)
        reader = csv.reader(file, delimiter=delimiter, skipinitialspace=True)
        for line in reader:
            cells = [cell.strip() for cell in line]
            if any(cells):
                yield reader.line_num, cells


def _delimiter(line: str) -> str:
    return max(";,\t", key=line.count) if any(mark in line for mark in ";,\t") else " "


def _refused(path: Path, message: str) -> Table:
    return Table(problems=(Problem(str(path), message),))
