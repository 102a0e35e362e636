"""Table of a sweep: all runs side by side, or a grid for two swept choices."""

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
from teledx_fed.reporting.runs import Run, numbered
from teledx_fed.reporting.tables_of_runs import FIGURES, csv_text, figures, markdown_table, not_run, write_comparison
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
        cells: dict[tuple[str, str], dict[str, Cell]] = {}
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
                cells[row, column] = {
                    place: {
                        "estimate": compared.models[column][place][METRIC],
                        "difference": against and against[place][METRIC],
                    }
                    for place in PLACES
                }
        return cells

    def _present(self, row: str) -> dict[str, Run]:
        return {column: self.runs[row, column] for column in self.columns if (row, column) in self.runs}

    def values(self, place: str) -> np.ndarray:
        """Return values (rows, columns), NaN where undefined."""
        cells = [[self.cells.get((row, column), {}).get(place) for column in self.columns] for row in self.rows]
        return np.array(
            [[cell["estimate"]["value"] if cell and cell["estimate"] else np.nan for cell in row] for row in cells]
        )

    def texts(self, place: str) -> list[list[str]]:
        rows, cells = self.rows, self.cells
        return [[row, *(_text(cells.get((row, column), {}).get(place)) for column in self.columns)] for row in rows]


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
        labels = [text.partition("=")[2] for text in numbered([f"{name}={value}" for value in values])]
        label_of = dict(zip(values, labels, strict=True))
        chosen = [choices | {name: label_of[choices[name]]} for choices in chosen]
    candidates = [
        Grid((rows, columns), {(c[rows], c[columns]): run for c, run in zip(chosen, runs, strict=True)})
        for rows, columns in (swept, swept[::-1])
    ]
    return next((candidate for candidate in candidates if candidate.unpaired is None), candidates[0])


def write_sweep(folders: Sequence[Path], refused: Mapping[str, str], folder: Path) -> Path:
    """Write grid.md, grid.csv and a plot if two choices were swept; else comparison.* of all runs.

    `refused` maps the choices of a failed run to the reason.
    """
    runs = [Run(path) for path in folders]
    table = grid(runs)
    if table is None:
        return write_comparison(runs, folder, refused)
    panels = [table.values(place) for place in PLACES]
    save(heat(np.stack(panels), table.rows, table.columns, list(PLACES.values())), folder / "grid")
    write_text(folder / "grid.csv", _csv(table))
    write_text(folder / "grid.md", _markdown(table, refused))
    return folder / "grid.md"


def _csv(table: Grid) -> str:
    lines: list[Sequence[str]] = [(*table.choices, "of", *FIGURES)]
    for (row, column), places in table.cells.items():
        for place, cell in places.items():
            lines.append((row, column, PLACES[place], *figures(cell["estimate"], cell["difference"])))
    return csv_text(lines)


def _markdown(table: Grid, refused: Mapping[str, str]) -> str:
    sections = [
        "# Sweep of two choices",
        f"{METRICS[METRIC]}. Rows: {table.choices[0]}; columns: {table.choices[1]}. {_brackets(table)}",
        "![grid](grid.png)",
    ]
    for place, title in PLACES.items():
        sections += [f"## {title.capitalize()}", markdown_table(["", *table.columns], table.texts(place))]
    return "\n\n".join([*sections, *not_run(list(table.runs.values()), refused)]) + "\n"


def _brackets(table: Grid) -> str:
    if table.unpaired is not None:
        return f"Runs are not compared: {table.unpaired.rstrip('.')}."
    return (
        f"In brackets the paired difference from {table.columns[0]}, with its 95 % interval; the worst hospital of the "
        "two need not be the same. Intervals are not adjusted for their number; p is, by row, under `holm` in grid.csv."
    )


def _text(cell: Cell | None) -> str:
    if cell is None or cell["estimate"] is None:
        return "–"
    value, difference = number(cell["estimate"]["value"], ".3f"), cell["difference"]
    if difference is None:
        return value
    return f"{value} ({number(difference['value'], '+.3f')}; {between(difference, '.3f').strip('()')})"
