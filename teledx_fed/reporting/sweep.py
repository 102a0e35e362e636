"""Table of a sweep: all runs side by side, or a grid for two swept choices."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from teledx_fed.core.files import write_text
from teledx_fed.core.formatting import number
from teledx_fed.evaluation.cross_site import ModelComparison, compare
from teledx_fed.evaluation.metrics import HEADLINE, PRIMARY
from teledx_fed.evaluation.test_predictions import Evaluation
from teledx_fed.reporting.comparison import Comparison
from teledx_fed.reporting.plots_of_runs import heat, save
from teledx_fed.reporting.report import resampling
from teledx_fed.reporting.runs import Run, told_apart
from teledx_fed.reporting.tables_of_runs import markdown_table, not_run, write_comparison
from teledx_fed.reporting.wording import METRICS, between

METRIC = PRIMARY[0]
PLACES = {"mean_of_sites": "mean of hospitals", "worst_of_sites": "worst hospital"}

Cell = Mapping[str, Any]
"""The estimate of a run in the grid, and its difference from the first run of its row."""


@dataclass(frozen=True)
class Grid:
    """Runs by the values of two choices; runs that failed are missing."""

    choices: tuple[str, str]
    runs: Mapping[tuple[str, str], Run]

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(row for row, _ in self.runs))

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(column for _, column in self.runs))

    @cached_property
    def paired(self) -> dict[str, list[Evaluation] | str]:
        """By row, its paired runs, or why they cannot be paired."""
        return {row: Comparison(list(of.values()), tuple(of)).paired for row in self.rows if (of := self._present(row))}

    @property
    def unpaired(self) -> str | None:
        """Why a row cannot be compared, or None."""
        return next((repeats for repeats in self.paired.values() if isinstance(repeats, str)), None)

    @cached_property
    def cells(self) -> dict[tuple[str, str], dict[str, Cell]]:
        """Cells by run and place; differences are within a paired row."""
        found: dict[tuple[str, str], dict[str, Cell]] = {}
        for row, repeats in self.paired.items():
            present = self._present(row)
            if isinstance(repeats, str):
                compared = ModelComparison({column: run.report["federated"] for column, run in present.items()}, {})
            else:
                models, (reference, first) = [repeat.among(present) for repeat in repeats], next(iter(present.items()))
                drawn = resampling(first.settings)
                compared = compare(models, *drawn, reference, HEADLINE, others_minus_reference=True)
            for column in present:
                against = compared.differences.get(column) if self.columns[0] in present else None
                found[row, column] = {
                    place: {"is": compared.models[column][place][METRIC], "less": against and against[place][METRIC]}
                    for place in PLACES
                }
        return found

    def _present(self, row: str) -> dict[str, Run]:
        return {column: self.runs[row, column] for column in self.columns if (row, column) in self.runs}

    def values(self, place: str) -> np.ndarray:
        """Return values (rows, columns), NaN where undefined."""
        told = [[self.cells.get((row, column), {}).get(place) for column in self.columns] for row in self.rows]
        return np.array([[cell["is"]["value"] if cell and cell["is"] else np.nan for cell in row] for row in told])

    def told(self, place: str) -> list[list[str]]:
        rows, cells = self.rows, self.cells
        return [[row, *(_told(cells.get((row, column), {}).get(place)) for column in self.columns)] for row in rows]


def grid(runs: Sequence[Run]) -> Grid | None:
    """Return a grid if exactly two choices were swept, even if some runs failed; else None.

    Rows are the first choice, or the second if only then the runs of every row test the same patients.
    """
    chosen = [dict(choice.lstrip("+").partition("=")[::2] for choice in run.choices) for run in runs]
    swept = [name for name in chosen[0] if len({choices.get(name) for choices in chosen}) > 1]
    if len(swept) != 2 or not all(choices.keys() >= set(swept) for choices in chosen):
        return None
    for name in swept:
        values = list(dict.fromkeys(choices[name] for choices in chosen))
        told = [text.partition("=")[2] for text in told_apart([f"{name}={value}" for value in values])]
        labels = dict(zip(values, told, strict=True))
        chosen = [choices | {name: labels[choices[name]]} for choices in chosen]
    either = [
        Grid((rows, columns), {(c[rows], c[columns]): run for c, run in zip(chosen, runs, strict=True)})
        for rows, columns in (swept, swept[::-1])
    ]
    return next((way for way in either if way.unpaired is None), either[0])


def write_sweep(folders: Sequence[Path], refused: Mapping[str, str], folder: Path) -> Path:
    """Write grid.md, grid.csv and a plot if two choices were swept; else comparison.* of all runs.

    `refused` maps the choices of a failed run to the reason.
    """
    runs = [Run(path) for path in folders]
    found = grid(runs)
    if found is None:
        return write_comparison(runs, folder, refused)
    panels = [found.values(place) for place in PLACES]
    save(heat(np.stack(panels), found.rows, found.columns, list(PLACES.values())), folder / "grid")
    write_text(folder / "grid.csv", _csv(found))
    write_text(folder / "grid.md", _markdown(found, refused))
    return folder / "grid.md"


def _csv(found: Grid) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = ("value", "low", "high")
    writer.writerow([*found.choices, "of", *ends, *(f"difference_{end}" for end in ends), "p", "holm"])
    for (row, column), places in found.cells.items():
        for place, cell in places.items():
            estimate, difference = cell["is"] or {}, cell["less"] or {}
            numbers = [estimate.get(end) for end in ends] + [difference.get(end) for end in (*ends, "p", "holm")]
            told = ["" if value is None else f"{value:.5f}" for value in numbers]
            writer.writerow([row, column, PLACES[place], *told])
    return text.getvalue()


def _markdown(found: Grid, refused: Mapping[str, str]) -> str:
    said = [
        "# A sweep",
        f"{METRICS[METRIC]}. Rows: {found.choices[0]}; columns: {found.choices[1]}. {_brackets(found)}",
        "![grid](grid.png)",
    ]
    for place, title in PLACES.items():
        said += [f"## {title.capitalize()}", markdown_table(["", *found.columns], found.told(place))]
    return "\n\n".join([*said, *not_run(list(found.runs.values()), refused)]) + "\n"


def _brackets(found: Grid) -> str:
    if found.unpaired is not None:
        return f"Runs are not compared: {found.unpaired.rstrip('.')}."
    return (
        f"In brackets the paired difference from {found.columns[0]}, with its 95 % interval; the worst hospital of the "
        "two need not be the same. Intervals are not adjusted for their number; p is, by row, under `holm` in grid.csv."
    )


def _told(cell: Cell | None) -> str:
    if cell is None or cell["is"] is None:
        return "–"
    value, less = number(cell["is"]["value"], ".3f"), cell["less"]
    return value if less is None else f"{value} ({number(less['value'], '+.3f')}; {between(less, '.3f').strip('()')})"
