"""Runs side by side: one table in three forms, the settings that differ, and plots of how they learned and rank."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import friedmanchisquare, rankdata, studentized_range

from teledx_fed.amounts import number
from teledx_fed.evaluation.cross_site import compare as compare_models
from teledx_fed.evaluation.examined import Examination
from teledx_fed.evaluation.metrics import headline
from teledx_fed.files import write_text
from teledx_fed.randomness import generator
from teledx_fed.reporting.plots import Course, mean_course
from teledx_fed.reporting.plots_of_runs import critical_difference as plot_of_ranks
from teledx_fed.reporting.plots_of_runs import learning_curves, save
from teledx_fed.reporting.runs import Json, Run, differing, names, same_data
from teledx_fed.reporting.wording import METRICS, MODELS, between

PRIMARY = ("referable_auroc", "qwk")
MOST_DRAWN = 12
"""More courses than these on one plot tell nobody anything."""
REPLICATES = 1000


@dataclass(frozen=True)
class Row:
    """A run, or a baseline of the first, in the table: `found` by metric, and less the first run, where paired."""

    name: str
    found: Json
    less: Json | None


@dataclass(frozen=True)
class Comparison:
    """The first run is what the others are compared with. A `ValueError` where they are of other data."""

    runs: Sequence[Run]
    names: Sequence[str]

    def __post_init__(self) -> None:
        same_data(self.runs)

    @cached_property
    def differing(self) -> dict[str, list[Any]]:
        return differing(self.runs)

    @cached_property
    def paired(self) -> list[Examination] | str:
        """By seed, all runs on the same patients, and the baselines of the first; or why that cannot be."""
        first, *others = self.runs
        baselines = {model: MODELS[model] for model in MODELS if model in first.report and model != "federated"}
        repeats = [repeat.named({"federated": self.names[0], **baselines}) for repeat in first.repeats]
        for name, run in zip(self.names[1:], others, strict=True):
            if len(run.repeats) != len(repeats):
                return f"{name} has {len(run.repeats)} seeds, {self.names[0]} {len(repeats)}"
            try:
                repeats = [a | b.named({"federated": name}) for a, b in zip(repeats, run.repeats, strict=True)]
            except (ValueError, KeyError):
                return f"{name} tests other patients, or at other hospitals, than {self.names[0]}"
        return repeats

    @cached_property
    def rows(self) -> list[Row]:
        if isinstance(self.paired, str):
            return [Row(n, run.report["federated"], None) for n, run in zip(self.names, self.runs, strict=True)]
        drawn = generator(0, purpose="comparison of runs")
        found = compare_models(self.paired, REPLICATES, drawn, self.names[0], headline, reversed=True)
        less = found.pop("differences")
        return [Row(name, said, less.get(name)) for name, said in found.items()]

    @property
    def sites(self) -> list[str]:
        """The hospitals that all runs have, with the same photographs."""
        first, *others = (run.report["sites"] for run in self.runs)
        return [s for s in first if all(s in other and other[s]["data"] == first[s]["data"] for other in others)]


def write_comparison(runs: Sequence[Run], folder: Path) -> Path:
    """comparison.md with its plots, comparison.csv and comparison.tex, in `folder`."""
    comparison = Comparison(runs, names(runs))
    write_text(folder / "comparison.csv", as_csv(comparison))
    write_text(folder / "comparison.tex", as_latex(comparison))
    drawn = _draw(comparison, folder)
    write_text(folder / "comparison.md", as_markdown(comparison, drawn))
    return folder / "comparison.md"


def ranks(comparison: Comparison, metric: str) -> dict[str, float] | None:
    """The mean rank of each run over hospitals, 1 the best; None where fewer than three runs can be ranked."""
    values = [[row.found["sites"][site][metric] for site in comparison.sites] for row in comparison.rows]
    if len(values) < 3 or len(comparison.sites) < 2 or any(value is None for row in values for value in row):
        return None
    scores = np.array([[value["value"] for value in row] for row in values])
    mean = rankdata(-scores, axis=0).mean(axis=1)
    return {row.name: float(rank) for row, rank in zip(comparison.rows, mean, strict=True)}


def critical_difference(runs: int, hospitals: int) -> float:
    """How far two mean ranks of `runs` must be apart over `hospitals` (Nemenyi, at 0.05; Demšar 2006)."""
    quantile = studentized_range.ppf(0.95, runs, np.inf) / np.sqrt(2)
    return float(quantile * np.sqrt(runs * (runs + 1) / (6 * hospitals)))


def friedman_p(comparison: Comparison, metric: str) -> float:
    """Of no run ranking otherwise than another."""
    scores = [[row.found["sites"][site][metric]["value"] for site in comparison.sites] for row in comparison.rows]
    return float(friedmanchisquare(*scores).pvalue)


def courses(run: Run, metric: str) -> tuple[Course, Course]:
    """The mean over parts of a validation score, after each round, and after so many megabytes of a part."""
    scored = [[line["metrics"].get(metric) for line in lines] for lines in run.rounds]
    sent = [
        [0.0, *accumulate((line["bytes_up"] + line["bytes_down"]) / 1e6 for line in lines[:-1])] for lines in run.rounds
    ]
    by_round = mean_course([list(enumerate(values)) for values in scored])
    by_bytes = mean_course([list(enumerate(values)) for values in sent])
    return by_round, [(sent, score) for (_, sent), (_, score) in zip(by_bytes, by_round, strict=True)]


def _draw(comparison: Comparison, folder: Path) -> list[str]:
    """Names of the plots, each as PNG and as PDF."""
    named = dict(zip(comparison.names, comparison.runs, strict=True))
    drawn: list[str] = []
    if len(named) <= MOST_DRAWN:
        learned = {name: courses(run, PRIMARY[0]) for name, run in named.items()}
        save(learning_curves(learned, METRICS[PRIMARY[0]]), folder / "learning")
        drawn.append("learning")
    for metric in PRIMARY:
        found = ranks(comparison, metric)
        if found is not None and len(found) <= MOST_DRAWN + 3:
            apart = critical_difference(len(found), len(comparison.sites))
            save(plot_of_ranks(found, apart, METRICS[metric]), folder / f"ranks-{metric}")
            drawn.append(f"ranks-{metric}")
    return drawn


def as_csv(comparison: Comparison) -> str:
    """One line a value: of a run, at a hospital or over them, its interval, and its difference from the first run."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    ends = ("value", "low", "high")
    writer.writerow(["run", "of", "metric", *ends, *(f"difference_{end}" for end in ends), "p", "holm"])
    for row in comparison.rows:
        for of, found in _places(row.found, comparison.sites):
            against = dict(_places(row.less, comparison.sites))[of] if row.less else {}
            for metric in PRIMARY:
                estimate, difference = found.get(metric) or {}, against.get(metric) or {}
                values = [estimate.get(end) for end in ends] + [difference.get(end) for end in (*ends, "p", "holm")]
                writer.writerow([row.name, of, metric, *("" if v is None else f"{v:.5f}" for v in values)])
    return text.getvalue()


def _places(found: Json, sites: Sequence[str]) -> list[tuple[str, Json]]:
    whole = [("mean of hospitals", found["mean_of_sites"]), ("worst hospital", found["worst_of_sites"])]
    return [*whole, *((site, found["sites"][site]) for site in sites)]


def _cells(row: Row, metric: str) -> list[str]:
    """Mean, worst hospital, and the difference from the first run with its adjusted p."""
    mean, worst = row.found["mean_of_sites"][metric], row.found["worst_of_sites"][metric]
    against = (row.less or {}).get("mean_of_sites", {}).get(metric)
    difference = f"{_told(against)}, p {number(against['holm'], '.2g')}" if against else ""
    return [_told(mean), _told(worst), difference]


def _told(estimate: Mapping[str, Any] | None) -> str:
    return f"{number(estimate['value'], '.3f')} {between(estimate, '.3f')}" if estimate else "–"


def _table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    metrics = [m for m in PRIMARY if any(row.found["mean_of_sites"][m] for row in comparison.rows)]
    heads = [h for m in metrics for h in (METRICS[m], f"{METRICS[m]}, worst hospital", f"less {comparison.names[0]}")]
    rows = [[row.name, *(cell for metric in metrics for cell in _cells(row, metric))] for row in comparison.rows]
    kept = [0, *(i for i in range(1, len(heads) + 1) if any(row[i] for row in rows))]
    return [["", *heads][i] for i in kept], [[row[i] for i in kept] for row in rows]


def as_markdown(comparison: Comparison, drawn: Sequence[str]) -> str:
    return "\n\n".join(part for part in _sections(comparison, drawn) if part) + "\n"


def _sections(comparison: Comparison, drawn: Sequence[str]) -> list[str]:
    heads, rows = _table(comparison)
    sites = comparison.sites
    seeds = len(comparison.runs[0].repeats)
    of_seeds = f" and over {seeds} seeds" if seeds > 1 else ""
    said = [
        "# Runs side by side",
        f"Mean of hospitals, with 95 % intervals by bootstrap over patients{of_seeds}. {_pairing(comparison)}",
        markdown_table(heads, rows),
    ]
    if sites:
        at = [[row.name, *(_told(row.found["sites"][site][PRIMARY[0]]) for site in sites)] for row in comparison.rows]
        said += [f"## {METRICS[PRIMARY[0]]} at each hospital", markdown_table(["", *sites], at)]
    for name in drawn:
        said += [f"![{name}]({name}.png)"]
        if name.startswith("ranks-"):
            p = number(friedman_p(comparison, name.removeprefix("ranks-")), ".2g")
            said += [
                f"Mean ranks over {len(sites)} hospitals; those under one bar are not told apart at 0.05 (Nemenyi); "
                f"Friedman's p is {p}."
            ]
    differing = comparison.differing
    named = [[f"`{name}`", *(f"`{value}`" for value in values)] for name, values in differing.items()]
    said += ["## Settings that differ", markdown_table(["", *comparison.names], named) if named else "None."]
    commands = "\n".join(run.command for run in comparison.runs)
    return [*said, "## How each was made", f"```sh\n{commands}\n```"]


def _pairing(comparison: Comparison) -> str:
    if isinstance(comparison.paired, str):
        return f"Not paired: {comparison.paired}."
    if len(comparison.rows) == 1:
        return ""
    return "Differences are paired, each p two-sided and adjusted for all rows (Holm)."


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


LATEX = str.maketrans({"_": r"\_", "%": r"\%", "&": r"\&", "#": r"\#", "–": "--", "−": "$-$", "$": r"\$"})


def as_latex(comparison: Comparison) -> str:
    """A booktabs table."""
    heads, rows = _table(comparison)
    lines = [" & ".join(cell.translate(LATEX) for cell in line) + r" \\" for line in (heads, *rows)]
    begin, end = f"\\begin{{tabular}}{{{'l' * len(heads)}}}", r"\end{tabular}"
    return "\n".join([begin, r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", end, ""])
