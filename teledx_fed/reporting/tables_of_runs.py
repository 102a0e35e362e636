"""Tables of a comparison of runs: Markdown, CSV and LaTeX."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from teledx_fed.core.files import write_text
from teledx_fed.core.formatting import number
from teledx_fed.evaluation.metrics import PRIMARY
from teledx_fed.reporting.comparison import (
    Comparison,
    ModelRow,
    courses,
    critical_difference,
    friedman_p,
    ranks,
)
from teledx_fed.reporting.plots_of_runs import critical_difference as plot_of_ranks
from teledx_fed.reporting.plots_of_runs import learning_curves, save
from teledx_fed.reporting.runs import Json, Run, names, without_paths
from teledx_fed.reporting.wording import METRICS, MODELS, between, too_few

MOST_DRAWN = 12
"""The most runs that a plot can show legibly."""
ENDS = ("value", "low", "high")
FIGURES = (*ENDS, *(f"difference_{end}" for end in ENDS), "p", "holm")
"""CSV columns of an estimate and its difference from the first run."""


def write_comparison(runs: Sequence[Run], folder: Path, refused: Mapping[str, str] = {}) -> Path:
    """Write comparison.md with its plots, comparison.csv and comparison.tex in `folder`.

    `refused` maps the choices of a failed run to the reason.
    """
    comparison = Comparison(runs, names(runs))
    write_text(folder / "comparison.csv", as_csv(comparison))
    write_text(folder / "comparison.tex", as_latex(comparison))
    drawn = _draw(comparison, folder)
    write_text(folder / "comparison.md", as_markdown(comparison, drawn, refused))
    return folder / "comparison.md"


def _draw(comparison: Comparison, folder: Path) -> list[str]:
    """Draw the plots as PNG and PDF, and return their names."""
    named = dict(zip(comparison.names, comparison.runs, strict=True))
    drawn: list[str] = []
    if len(named) <= MOST_DRAWN:
        curves = {name: courses(run, PRIMARY[0]) for name, run in named.items()}
        save(learning_curves(curves, METRICS[PRIMARY[0]]), folder / "learning")
        drawn.append("learning")
    for metric in PRIMARY:
        mean_ranks = ranks(comparison, metric)
        if mean_ranks is not None and len(mean_ranks) <= MOST_DRAWN + 3:
            critical = critical_difference(len(mean_ranks), len(comparison.sites))
            save(plot_of_ranks(mean_ranks, critical, METRICS[metric]), folder / f"ranks-{metric}")
            drawn.append(f"ranks-{metric}")
    return drawn


def as_csv(comparison: Comparison) -> str:
    """Return a line for each run, hospital (or mean) and metric: value, interval, difference from the first run."""
    lines: list[Sequence[str]] = [("run", "of", "metric", *FIGURES)]
    for row in comparison.rows:
        for place, scores in _places(row.scores, comparison.sites):
            against = dict(_places(row.difference, comparison.sites))[place] if row.difference else {}
            for metric in PRIMARY:
                lines.append((row.name, place, metric, *figures(scores.get(metric), against.get(metric))))
    return csv_text(lines)


def figures(estimate: Json | None, difference: Json | None) -> list[str]:
    """Return the cells under FIGURES, empty where undefined."""
    values = [(estimate or {}).get(name) for name in ENDS]
    values += [(difference or {}).get(name) for name in (*ENDS, "p", "holm")]
    return ["" if value is None else f"{value:.5f}" for value in values]


def csv_text(lines: Iterable[Sequence[str]]) -> str:
    """Write rows as CSV."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def _places(scores: Json, sites: Sequence[str]) -> list[tuple[str, Json]]:
    whole = [("mean of hospitals", scores["mean_of_sites"]), ("worst hospital", scores["worst_of_sites"])]
    return [*whole, *((site, scores["sites"][site]) for site in sites)]


def _cells(row: ModelRow, metric: str) -> list[str]:
    """Return the mean, the worst hospital, and the difference from the first run with its adjusted p."""
    mean, worst = row.scores["mean_of_sites"][metric], row.scores["worst_of_sites"][metric]
    against = (row.difference or {}).get("mean_of_sites", {}).get(metric)
    difference = f"{_text(against)}, p {number(against['holm'], '.2g')}" if against else ""
    sites = len(row.scores["sites"])
    somewhere = f", at {mean['sites']} of {sites} hospitals" if mean and mean["sites"] < sites else ""
    return [_text(mean) + somewhere, _text(worst), difference]


def _text(estimate: Mapping[str, Any] | None) -> str:
    return f"{number(estimate['value'], '.3f')} {between(estimate, '.3f')}" if estimate else "–"


def _at(row: ModelRow, site: str, comparison: Comparison) -> str:
    text = _text(row.scores["sites"][site][PRIMARY[0]])
    run = dict(zip(comparison.names, comparison.runs, strict=True)).get(row.name)
    return f"**{text}**" if run and run.report["sites"][site]["absent"] else text


def _table(comparison: Comparison) -> tuple[list[str], list[list[str]]]:
    metrics = [m for m in PRIMARY if any(row.scores["mean_of_sites"][m] for row in comparison.rows)]
    first = comparison.names[0]
    heads = []
    for title in (METRICS[metric] for metric in metrics):
        heads += [title, f"{title} at the worst hospital", f"{title} minus {first}"]
    rows = [[row.name, *(cell for metric in metrics for cell in _cells(row, metric))] for row in comparison.rows]
    kept = [0, *(i for i in range(1, len(heads) + 1) if any(row[i] for row in rows))]
    return [["", *heads][i] for i in kept], [[row[i] for i in kept] for row in rows]


def as_markdown(comparison: Comparison, drawn: Sequence[str], refused: Mapping[str, str]) -> str:
    """Write a comparison as a Markdown page."""
    return "\n\n".join(part for part in _sections(comparison, drawn, refused) if part) + "\n"


def _sections(comparison: Comparison, drawn: Sequence[str], refused: Mapping[str, str]) -> list[str]:
    heads, rows = _table(comparison)
    sites = comparison.sites
    sections = [
        "# Comparison of runs",
        _reading(comparison),
        markdown_table(heads, rows),
    ]
    if gained := _gains(comparison):
        sections += ["## Federated minus each baseline of the same run", gained]
    if sites:
        at = [[row.name, *(_at(row, site, comparison) for site in sites)] for row in comparison.rows]
        bold = ["Bold: the hospital was absent; the others trained the model."] if "**" in str(at) else []
        sections += [f"## {METRICS[PRIMARY[0]]} at each hospital", *bold, markdown_table(["", *sites], at)]
    for name in drawn:
        sections += [f"![{name}]({name}.png)"]
        if name.startswith("ranks-"):
            apart = critical_difference(len(comparison.rows), len(sites))
            p = number(friedman_p(comparison, name.removeprefix("ranks-")), ".2g")
            sections += [
                f"Mean ranks over {len(sites)} hospitals. A bar joins runs with ranks less than {apart:.2f} apart, "
                f"which is not significant at 0.05 (Nemenyi). Friedman test: p {p}."
            ]
    sections += not_run(comparison.runs, refused)
    differing = comparison.differing
    named = [[f"`{name}`", *(f"`{value}`" for value in values)] for name, values in differing.items()]
    sections += ["## Settings that differ", markdown_table(["", *comparison.names], named) if named else "None."]
    commands = "\n".join(run.command for run in comparison.runs)
    return [*sections, "## Commands", f"```sh\n{commands}\n```"]


def not_run(runs: Sequence[Run], refused: Mapping[str, str]) -> list[str]:
    """Return a section of failed runs by reason, with the choices that not all runs have; empty without failures."""
    chosen = [set(choices.split()) for choices in refused]
    of_all = set.intersection(*chosen, *(set(run.choices) for run in runs)) if refused else set()
    by_reason: dict[str, list[str]] = {}
    for choices, reason in refused.items():
        chosen_here = " ".join(without_paths(choice) for choice in choices.split() if choice not in of_all)
        by_reason.setdefault(without_paths(reason.partition("\n")[0]), []).append(f"`{chosen_here}`")
    lines = [f"- {', '.join(choices)}: {reason}" for reason, choices in by_reason.items()]
    return ["## Could not be run", "\n".join(lines)] if lines else []


def _gains(comparison: Comparison) -> str:
    """Return a table of federated minus baseline by run; empty where no baseline was trained."""
    differences = [run.report["differences"] for run in comparison.runs]
    baselines = [model for model in MODELS if any(model in by_model for by_model in differences)]
    rows = [
        [name, *(_text(by_model.get(model, {}).get("mean_of_sites", {}).get(PRIMARY[0])) for model in baselines)]
        for name, by_model in zip(comparison.names, differences, strict=True)
    ]
    heads = [f"{METRICS[PRIMARY[0]]}, minus", *(MODELS[model].lower() for model in baselines)]
    return markdown_table(heads, rows) if baselines else ""


def _reading(comparison: Comparison) -> str:
    """Return the note that explains the table."""
    seeds = len(comparison.runs[0].repeats)
    of_seeds = f", wider for {seeds} seeds (Student's t)" if seeds > 1 else ""
    note = f"Mean of hospitals, with 95 % intervals by bootstrap over patients{of_seeds}. {_pairing(comparison)}"
    return f"{note.rstrip()} {too_few(comparison.runs[0].report)}".rstrip()


def _pairing(comparison: Comparison) -> str:
    if isinstance(comparison.paired, str):
        return f"Not paired: {comparison.paired}."
    if len(comparison.rows) == 1:
        return ""
    return "Differences are paired, each p two-sided and adjusted for all rows (Holm)."


def markdown_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown; bars in cells are escaped."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


LATEX = str.maketrans(
    {character: f"\\{character}" for character in "_%&#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "−": "$-$"}
)


def as_latex(comparison: Comparison) -> str:
    """Return a booktabs table with its note."""
    heads, rows = _table(comparison)
    lines = [" & ".join(cell.translate(LATEX) for cell in line) + r" \\" for line in (heads, *rows)]
    begin, end = f"\\begin{{tabular}}{{{'l' * len(heads)}}}", r"\end{tabular}"
    text = _reading(comparison).translate(LATEX)
    note = f"\\multicolumn{{{len(heads)}}}{{p{{\\linewidth}}}}{{\\footnotesize {text}}} \\\\"
    return "\n".join([begin, r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule", note, end, ""])
