"""Comparison of small runs, made here, by the command."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compared_runs import REFUSED, RUNS, SECRET, TINY, chosen, compared, rows_of, swept
from scipy.stats import rankdata

from teledx_fed.config.loading import build, save
from teledx_fed.config.settings import CHOICES
from teledx_fed.evaluation import test_predictions
from teledx_fed.experiment import run_experiment
from teledx_fed.reporting.comparison import Comparison, critical_difference, ranks
from teledx_fed.reporting.plots_of_runs import _groups
from teledx_fed.reporting.runs import Run, differing, names
from teledx_fed.reporting.sweep import grid, write_sweep

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    base = tmp_path_factory.mktemp("runs")
    for name, what in RUNS.items():
        values = TINY | what
        settings = build(
            {**values, "data": {**values["data"], "cache": str(base / "cache")}, "folder": str(base / name)}
        )
        save(settings, base / name / "config.yaml")
        run_experiment(settings, base / name)
    return {name: base / name for name in RUNS}


@pytest.fixture
def table(runs: dict[str, Path], tmp_path: Path) -> Path:
    code, output = compared([runs["mean"], runs["median"]], tmp_path)
    assert code == 0, output
    return tmp_path


def test_the_table_has_the_figures_of_the_reports(runs: dict[str, Path], table: Path) -> None:
    rows = rows_of(table)
    for name in ("mean", "median"):
        report = json.loads((runs[name] / "report.json").read_text())
        expected = report["federated"]["mean_of_sites"]["referable_auroc"]
        (row,) = [
            row
            for row in rows
            if (row["run"], row["of"], row["metric"]) == (name, "mean of hospitals", "referable_auroc")
        ]
        for end in ("value", "low", "high"):
            assert float(row[end]) == pytest.approx(expected[end], abs=1e-5)
    (mean, median) = (
        next(row for row in rows if (row["run"], row["of"], row["metric"]) == (name, "north", "qwk"))
        for name in ("mean", "median")
    )
    assert float(median["difference_value"]) == pytest.approx(float(median["value"]) - float(mean["value"]), abs=2e-5)
    assert float(median["difference_low"]) <= float(median["difference_value"]) <= float(median["difference_high"])
    assert float(median["p"]) <= float(median["holm"]) <= 1
    assert {row["run"] for row in rows} == {"mean", "median", "Each hospital alone"}


def test_the_markdown_lists_differing_settings_and_shows_the_plots(table: Path) -> None:
    text = (table / "comparison.md").read_text()
    assert "| `strategy.name` | `fedavg` | `fedmedian` |" in text
    assert "cache" not in text.split("## How")[0]
    drawn = re.findall(r"!\[.*?\]\((.*?)\)", text)
    assert "learning.png" in drawn
    assert any(name.startswith("ranks-") for name in drawn)
    for name in drawn:
        assert (table / name).read_bytes().startswith(b"\x89PNG")
        assert (table / name).with_suffix(".pdf").read_bytes().startswith(b"%PDF")


def test_the_latex_has_as_many_cells_in_every_row(table: Path) -> None:
    lines = (table / "comparison.tex").read_text().splitlines()
    columns = re.fullmatch(r"\\begin{tabular}{(l+)}", lines[0])
    assert columns is not None
    *rows, note = [line for line in lines if line.endswith(r"\\")]
    assert "95 \\% intervals" in note
    assert f"multicolumn{{{len(columns[1])}}}" in note
    assert {row.count(" & ") + 1 for row in rows} == {len(columns[1])}
    assert not any(re.search(r"(?<!\\)[%_#]", row) for row in rows)


def test_runs_over_different_data_are_refused(runs: dict[str, Path], tmp_path: Path) -> None:
    code, output = compared([runs["mean"], runs["drawn"]], tmp_path)
    assert code == 1
    assert "runs must be of the same photographs and grades" in output
    assert not list(tmp_path.iterdir())


def test_no_table_contains_a_path(runs: dict[str, Path], tmp_path: Path) -> None:
    cells = {("strategy=fedavg", "seed=0"): runs["mean"], ("strategy=krum", "seed=1"): runs["median"]}
    one, other = swept(tmp_path, cells)
    chosen(one, *Run(one).choices, *SECRET)
    code, output = compared([one, other], tmp_path / "compared")
    assert code == 0, output
    chosen(other, *Run(other).choices, *SECRET)
    write_sweep([one, other], REFUSED, tmp_path / "swept")
    folders = (tmp_path / "compared", tmp_path / "swept")
    files = [path for folder in folders for path in folder.iterdir() if path.suffix in (".md", ".csv", ".tex")]
    assert len(files) == 5
    assert not [path for path in files if "ward" in path.read_text()]
    assert "data_root=PATH" in (tmp_path / "compared" / "comparison.md").read_text()


def test_swept_paths_and_folders_of_one_name_are_numbered(runs: dict[str, Path], tmp_path: Path) -> None:
    cells = {
        (f"model.file=/ward/{file}", f"strategy={strategy}"): runs["mean"]
        for file in ("old", "new")
        for strategy in ("fedavg", "krum")
    }
    folders = [shutil.copytree(folder, tmp_path / str(i)) for i, folder in enumerate(cells.values())]
    for folder, choices in zip(folders, cells, strict=True):
        chosen(folder, *choices)
    written = write_sweep(folders, {"model.file=/ward/lost strategy=krum": "no such file"}, tmp_path / "grid").parent
    same = [shutil.copytree(runs["mean"], tmp_path / "ward" / ward / "run") for ward in ("one", "two")]
    assert compared(same, tmp_path / "compared")[0] == 0
    for text in ((written / "grid.md").read_text(), (tmp_path / "compared" / "comparison.md").read_text()):
        assert "ward" not in text
    assert "| PATH 2 | " in (written / "grid.md").read_text()
    assert "| run 2 | " in (tmp_path / "compared" / "comparison.md").read_text()


def test_a_sweep_over_data_with_a_failed_run_has_a_table(runs: dict[str, Path], tmp_path: Path) -> None:
    folders = swept(tmp_path, {("data.seed=0", "seed=3"): runs["mean"], ("data.seed=1", "seed=3"): runs["drawn"]})
    text = write_sweep(folders, {"data.seed=2 seed=3": "no patients"}, tmp_path / "table").read_text()
    assert "Not paired: " in text
    assert "data.seed 1 with other photographs or grades than data.seed 0" in text
    assert "- `data.seed=2`: no patients" in text


def test_a_sweep_with_undefined_auroc_has_a_grid(runs: dict[str, Path], tmp_path: Path) -> None:
    cells = {(f"strategy={s}", f"seed={i}"): runs["mean"] for s in ("fedavg", "krum") for i in (0, 1)}
    folders = swept(tmp_path, cells)
    for folder in folders:
        tested = test_predictions.read(folder / "tested.safetensors")
        nobody = {
            model: {site: replace(p, referable=np.zeros_like(p.referable)) for site, p in sites.items()}
            for model, sites in tested.predictions.items()
        }
        test_predictions.write(replace(tested, predictions=nobody), folder / "tested.safetensors")
        chosen(folder, *Run(folder).choices, "~data.hospitals.valley")
    assert write_sweep(folders, {}, tmp_path / "table").read_text().count("| – | – |") == 4


def test_a_run_is_not_compared_with_itself(runs: dict[str, Path], tmp_path: Path) -> None:
    code, output = compared([runs["mean"], runs["median"], runs["mean"] / ".." / "mean"], tmp_path / "out")
    assert code == 1
    assert "runs must be different ones" in output


def test_a_folder_without_a_run_is_named_in_the_error(runs: dict[str, Path], tmp_path: Path) -> None:
    code, output = compared([runs["mean"], tmp_path], tmp_path / "out")
    assert code == 1
    assert f"{tmp_path} must be the folder of a finished run" in output.replace("\n", "")


@pytest.mark.parametrize("file", ["report.json", "tested.safetensors", "rounds.jsonl", "config.yaml"])
def test_a_damaged_file_is_named_in_the_error(file: str, runs: dict[str, Path], tmp_path: Path) -> None:
    damaged = shutil.copytree(runs["median"], tmp_path / "damaged")
    (damaged / file).write_text('{"cut short')
    code, output = compared([runs["mean"], damaged], tmp_path / "out")
    assert code == 1
    assert f"{damaged / file} must be as its run wrote it" in output.replace("\n", "")


@pytest.mark.parametrize(
    ("other", "why"),
    [("more", "more with another number of seeds than mean"), ("dealt", "dealt with other patients tested, or other")],
)
def test_the_table_of_unpaired_runs_gives_the_reason(
    other: str, why: str, runs: dict[str, Path], tmp_path: Path
) -> None:
    code, output = compared([runs["mean"], runs[other]], tmp_path)
    assert code == 0, output
    text = (tmp_path / "comparison.md").read_text()
    assert "Not paired" in text
    assert why in text
    assert "ranks" not in text
    assert all(row["holm"] == "" for row in rows_of(tmp_path))


def test_an_absent_hospital_is_bold(runs: dict[str, Path], tmp_path: Path) -> None:
    without = shutil.copytree(runs["median"], tmp_path / "without")
    report = json.loads((without / "report.json").read_text())
    report["sites"]["north"]["absent"] = True
    (without / "report.json").write_text(json.dumps(report))
    assert compared([runs["mean"], without], tmp_path / "out")[0] == 0
    at = (tmp_path / "out" / "comparison.md").read_text().split("at each hospital")[1].split("##")[0]
    bold = [line for line in at.splitlines() if "**" in line]
    assert len(bold) == 1
    assert bold[0].startswith("| without |")
    assert bold[0].count("**") == 2


def test_a_single_run_is_compared_with_its_baselines(runs: dict[str, Path], tmp_path: Path) -> None:
    assert compared([runs["mean"]], tmp_path)[0] == 0
    rows = {row["run"] for row in rows_of(tmp_path)}
    assert rows == {"Federated", "Each hospital alone"}


def test_a_run_is_named_by_the_choices_that_only_it_has(runs: dict[str, Path]) -> None:
    mean, median = Run(runs["mean"]), Run(runs["median"])
    assert names([mean, median]) == ["mean", "median"]
    chosen(runs["mean"], "experiment=quick", "strategy=fedavg", "partition.alpha=0.1", "folder=a")
    chosen(runs["median"], "experiment=quick", "strategy=fedmedian", "folder=b")
    mean, median = Run(runs["mean"]), Run(runs["median"])
    assert names([mean, median]) == ["fedavg, alpha 0.1", "fedmedian"]
    assert mean.command.startswith("python run_simulation.py experiment=quick strategy=fedavg")
    for name in ("mean", "median"):
        (runs[name] / CHOICES).unlink()


def test_a_sweep_of_two_choices_is_a_grid(runs: dict[str, Path], tmp_path: Path) -> None:
    folders = []
    for i, (name, choices) in enumerate(
        {"mean": ("strategy=fedavg", "faults=none"), "median": ("strategy=fedavg", "faults=crash")}.items()
    ):
        folders.append(shutil.copytree(runs[name], tmp_path / str(i)))
        chosen(folders[-1], "experiment=quick", *choices)
        folders.append(shutil.copytree(runs[name], tmp_path / f"{i}-again"))
        chosen(folders[-1], "experiment=quick", choices[0].replace("fedavg", "krum"), choices[1])
    written = write_sweep(folders, {"strategy=bulyan": "too few hospitals"}, tmp_path / "table")
    assert written.name == "grid.md"
    text = written.read_text()
    assert "| fedavg | " in text
    assert "- `strategy=bulyan`: too few hospitals" in text
    table = grid([Run(folder) for folder in folders])
    assert table is not None
    assert (table.choices, table.rows, table.columns) == (("strategy", "faults"), ["fedavg", "krum"], ["none", "crash"])
    values = table.values("mean_of_sites")
    assert values.shape == (2, 2)
    np.testing.assert_array_equal(values[0], values[1])
    cell = table.cells["fedavg", "crash"]["mean_of_sites"]
    assert cell["difference"]["value"] == pytest.approx(values[0, 1] - values[0, 0])
    assert (tmp_path / "table" / "grid.png").exists()


def test_the_rows_of_a_grid_are_the_choice_that_changes_the_tested_patients(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    cells = {
        (strategy, f"seed={seed}"): runs[name]
        for seed, name in enumerate(("mean", "dealt"))
        for strategy in ("strategy=fedavg", "strategy=fedprox")
    }
    table = grid([Run(folder) for folder in swept(tmp_path, cells)])
    assert table is not None
    assert table.choices == ("seed", "strategy")
    assert table.cells["1", "fedprox"]["mean_of_sites"]["difference"]["value"] == 0
    written = write_sweep([tmp_path / "-".join(choices) for choices in cells], {}, tmp_path / "table")
    with (written.parent / "grid.csv").open(newline="") as file:
        p_values = {(row["seed"], row["strategy"], row["of"]): (row["p"], row["holm"]) for row in csv.DictReader(file)}
    assert p_values["1", "fedprox", "mean of hospitals"] == ("1.00000", "1.00000")
    assert p_values["1", "fedavg", "mean of hospitals"] == ("", "")


def test_a_grid_of_runs_over_different_data_gives_the_reason(runs: dict[str, Path], tmp_path: Path) -> None:
    cells = {
        ("data.seed=0", "partition=by_source"): runs["mean"],
        ("data.seed=0", "partition=iid"): runs["dealt"],
        ("data.seed=1", "partition=by_source"): runs["drawn"],
    }
    text = write_sweep(swept(tmp_path, cells), {}, tmp_path / "table").read_text()
    assert "Runs are not compared: " in text
    assert text.count("| – |") == 2


def test_ranks_and_their_critical_difference(runs: dict[str, Path]) -> None:
    """Demšar 2006, table 5: q is 2.343 for three and 2.569 for four, so with N = 14 the difference of four is 1.25."""
    assert critical_difference(4, 14) == pytest.approx(1.25, abs=0.005)
    assert critical_difference(3, 10) == pytest.approx(2.343 * np.sqrt(3 * 4 / 60), abs=0.001)
    comparison = Comparison([Run(runs["mean"]), Run(runs["median"])], ["mean", "median"])
    mean_ranks = ranks(comparison, "referable_auroc")
    assert mean_ranks is not None
    values = np.array(
        [
            [row.scores["sites"][site]["referable_auroc"]["value"] for site in comparison.sites]
            for row in comparison.rows
        ]
    )
    expected = rankdata(-values, axis=0).mean(axis=1)
    assert list(mean_ranks.values()) == pytest.approx(expected.tolist())
    assert sum(mean_ranks.values()) == pytest.approx(3 * 4 / 2)


def test_groups_of_similar_ranks_are_the_longest() -> None:
    assert _groups([1.0, 1.5, 2.4, 3.0], 1.0) == [(0, 1), (1, 2), (2, 3)]
    assert _groups([1.0, 1.2, 1.4], 5) == [(0, 2)]
    assert _groups([1.0, 3.0], 1) == []


def test_differing_settings_contain_no_paths(runs: dict[str, Path]) -> None:
    settings = differing([Run(runs["mean"]), Run(runs["median"])])
    assert set(settings) == {"strategy.name", "baselines"}
