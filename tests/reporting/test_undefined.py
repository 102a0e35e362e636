"""Undefined metrics: every page, table, plot and sentence is still written, with a dash."""

import json
import re
from io import StringIO
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from invented_run import SITES, report, write_run
from rich.console import Console

from teledx_fed.config.settings import CHOICES
from teledx_fed.core.reports import RoundReport
from teledx_fed.deployment.server.overview import Overview, RunStanding, RunState
from teledx_fed.deployment.server.web.page import render
from teledx_fed.evaluation import test_predictions
from teledx_fed.evaluation.cross_site import compare, curves, matrix
from teledx_fed.evaluation.predictions import Predictions
from teledx_fed.evaluation.test_predictions import Evaluation
from teledx_fed.reporting import plots, progress, sweep, tables_of_runs, tracking
from teledx_fed.reporting.live_page import LivePage
from teledx_fed.reporting.page import write_page
from teledx_fed.reporting.report import _too_few
from teledx_fed.reporting.runs import TESTED, Run
from teledx_fed.reporting.sweep import write_sweep
from teledx_fed.reporting.tables_of_runs import write_comparison
from teledx_fed.reporting.wording import MODELS, verdict

Json = dict[str, Any]
SHARES = st.sampled_from([0.05, 0.5, 0.95, 1.0])
BASELINES = st.sampled_from([(), ("local",), ("local", "ensemble", "centralised")])
CERTAIN = re.compile(r"(\d\.\d+) \(\1–\1\)")
"""A figure whose interval has no width, which must not occur."""


def estimates(node: Any) -> list[tuple[Json, str]]:
    """Return every place of a report with an estimate."""
    places = []
    for name, child in node.items():
        if isinstance(child, dict) and "value" in child:
            places.append((node, name))
        elif isinstance(child, dict):
            places += estimates(child)
    return places


def blank(values: Json, share: float, chance: Random) -> Json:
    """Remove a share of the estimates and curves."""
    for holder, name in estimates(values):
        if chance.random() < share:
            holder[name] = None
    for by_site in values["curves"].values():
        for drawn in by_site.values():
            if chance.random() < share:
                drawn["roc"] = {"false_positive_rate": [], "true_positive_rate": [], "operating_point": None}
            if chance.random() < share:
                drawn["reliability"] = {"predicted": [], "observed": [], "count": []}
    return values


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lay out figures without writing them: a page has twenty."""
    monkeypatch.setattr(plots, "_svg", lambda figure: "<svg></svg>")
    for module in (tables_of_runs, sweep):
        monkeypatch.setattr(module, "save", lambda figure, path: None)


def page_of(values: Json) -> str:
    with TemporaryDirectory() as folder:
        return write_page(write_run(Path(folder), values)).read_text("utf-8")


@pytest.mark.slow
@settings(max_examples=4)
@given(BASELINES, st.integers(1, 3), st.sampled_from(["grade", "referable"]), SHARES, st.randoms(use_true_random=False))
@pytest.mark.usefixtures("undrawn")
def test_a_page_without_some_of_its_figures(
    baselines: tuple[str, ...], sites: int, head: str, share: float, chance: Random
) -> None:
    values = blank(report(SITES[:sites], baselines, head), share, chance)
    page = page_of(values)
    assert verdict(values) in page.replace("&#39;", "'")
    assert "–" in page
    assert not re.search(r"\b(nan|None)\b", page)
    assert all(value is not None for _, value, _ in tracking._test_scalars(values))


def predictions(draw: np.random.Generator, grades: np.ndarray, graded: bool) -> Predictions:
    eyes = len(grades)
    scores = draw.dirichlet(np.ones(5), eyes)
    return Predictions(
        grade=grades,
        referable=grades >= 2,
        vision_threatening=grades >= 3,
        probabilities=scores if graded else None,
        referable_score=scores[:, 2:].sum(axis=1),
        vision_threatening_score=scores[:, 3:].sum(axis=1) if graded else None,
        patient=np.arange(eyes) // 2,
    )


@st.composite
def evaluations(draw: st.DrawFn) -> Evaluation:
    """Hospitals of one to thirty eyes, of one grade or more, tested with one model or more."""
    chance = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    models, graded = ("federated", *draw(BASELINES)), draw(st.booleans())
    hospitals = draw(
        st.lists(st.tuples(st.integers(1, 30), st.sets(st.integers(0, 4), min_size=1)), min_size=1, max_size=3)
    )
    truths = {site: chance.choice(sorted(grades), eyes) for site, (eyes, grades) in zip(SITES, hospitals, strict=False)}
    tested = {model: {site: predictions(chance, truth, graded) for site, truth in truths.items()} for model in models}
    called = {model: {site: p.referable_score > 0.5 for site, p in by.items()} for model, by in tested.items()}
    patients = {site: tuple(f"{site}/{i}" for i in range(-(-len(truth) // 2))) for site, truth in truths.items()}
    return Evaluation(tested, called, patients)


def reported(tested: Evaluation) -> Json:
    """Return values as in write_report, without photographs."""
    models = [model for model in tested.predictions if model in MODELS]
    graded = next(iter(tested.predictions["federated"].values())).probabilities is not None
    comparison = compare([tested], 20, np.random.default_rng(0))
    return report(tested.patients, models[1:], "grade" if graded else "referable") | {
        **comparison.models,
        "differences": comparison.differences,
        "cross_site": matrix([tested.among(["federated"])], 20, np.random.default_rng(0)),
        "curves": {
            model: {site: curves(p, tested.called[model][site]) for site, p in by.items()}
            for model, by in tested.predictions.items()
        },
        "too_few": _too_few(tested),
    }


def run_of(folder: Path, tested: Evaluation, values: Json, *choices: str) -> Path:
    folder.mkdir()
    write_run(folder, values)
    test_predictions.write(tested, folder / TESTED)
    (folder / CHOICES).write_text(json.dumps(choices))
    return folder


@pytest.mark.slow
@settings(max_examples=10)
@given(evaluations())
@pytest.mark.usefixtures("undrawn")
def test_hospitals_of_any_size_and_any_grades_are_reported_compared_and_swept(tested: Evaluation) -> None:
    values = json.loads(json.dumps(reported(tested), allow_nan=False))
    page = page_of(values)
    assert not CERTAIN.search(verdict(values))
    assert ("too few patients. A metric needs" in page) == any(values["too_few"].values())
    with TemporaryDirectory() as folder:
        cells = [(strategy, seed) for strategy in ("fedavg", "krum") for seed in (0, 1)]
        runs = [
            run_of(Path(folder) / f"{strategy}{seed}", tested, values, f"strategy={strategy}", f"seed={seed}")
            for strategy, seed in cells
        ]
        table = write_comparison([Run(run) for run in runs[:3]], Path(folder)).read_text()
        grid = write_sweep(runs, {}, Path(folder)).read_text()
    for text in (page, table, grid):
        assert not re.search(r"\bnan\b", text, re.IGNORECASE)


@settings(max_examples=6)
@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["referable_auroc", "qwk"]), st.one_of(st.none(), st.floats(-1, 1, allow_subnormal=False))
        ),
        max_size=5,
    )
)
def test_rounds_without_some_of_their_scores(scores: list[dict[str, float | None]]) -> None:
    lines = tuple(
        RoundReport(round, "2026-01-05T09:00:00+00:00", ("north",), metrics=metrics)
        for round, metrics in enumerate(scores, start=1)
    )
    live = LivePage()
    for line in lines:
        live.round(line, len(lines))
        progress._round_line(line, len(lines))
        assert all(value is not None for _, value, _ in tracking._round_scalars(line))
    Console(file=StringIO(), width=100).print(live)
    now = "2026-01-05T10:00:00+00:00"
    run = RunStanding("a", RunState.RUNNING, "", len(lines), 5, now, scores[-1] if scores else {}, 0, 0)
    federation = Overview(now, True, 90, (run, run), lines, ())
    assert "None" not in render(federation)


@pytest.mark.slow
def test_every_plot_of_a_run_without_any_figure(tmp_path: Path) -> None:
    values = blank(report(SITES[:2], ("local",)), 1.0, Random(0))
    assert "Nothing to draw" in page_of(values)
