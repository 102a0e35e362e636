"""The metric of docs/extending.md, as an installed third-party package."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from extension_package import example, write_example, write_package

from teledx_fed.evaluation.cross_site import compare
from teledx_fed.evaluation.metrics import METRICS, all_metrics, compute, metric
from teledx_fed.evaluation.tables import SCORES, scores, table
from teledx_fed.evaluation.test_predictions import Evaluation

ROOT = Path(__file__).parents[2]
HEADING = "A metric"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delitem(sys.modules, "youden", raising=False)
    return write_example(HEADING, tmp_path / "installed")


def test_an_installed_metric_is_reported_with_an_interval(
    package: Path, simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(package)
    p = simulate(0)
    called = {"north": p.referable_score >= 0.5}
    evaluation = Evaluation({"federated": {"north": p}}, {"federated": called}, {"north": tuple(map(str, range(60)))})
    report = compare([evaluation], 50, np.random.default_rng(0), metrics=all_metrics())
    values = report.models["federated"]["sites"]["north"]
    expected = values["sensitivity"]["value"] + values["specificity"]["value"] - 1
    assert values["youden"]["value"] == pytest.approx(expected)
    assert values["youden"]["low"] < expected < values["youden"]["high"]


def test_a_site_computes_and_sends_nothing_of_an_installed_metric(
    package: Path, simulate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(package)
    p = simulate(0)
    called = p.referable_score >= 0.5
    assert "youden" not in compute(p, called, np.ones((1, p.eyes)))
    assert tuple(scores(table(p, called, 5))) == SCORES
    assert "youden" not in sys.modules


def test_one_metric_serves_single_eyes_and_tables(simulate) -> None:
    p = simulate(0)
    called, of_eyes = p.referable_score >= 0.5, compute(p, p.referable_score >= 0.5, np.ones((1, p.eyes)))
    tables = {name: array[None] for name, array in table(p, called, 5).items()}
    for name in ("qwk", "sensitivity", "npv_10", "missed_severe", "macro_f1"):
        assert METRICS[name].of(tables) == pytest.approx(of_eyes[name]), name
    assert METRICS["ece"].of(tables) is None, "a table has no single eyes"


def test_an_unsuitable_installed_metric_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"metric wrong must take counts among called, .*, got 'patients'"):
        metric("Wrong")(wrong)
    for number, (name, message) in enumerate(
        {"qwk": "have the name of its function", "f": "refer to a function"}.items()
    ):
        module = example(HEADING)["python"] + "\n\ndef f(called):\n    return called\n"
        points = f"[teledx_fed.metrics]\n{name} = youden:{'youden' if name == 'qwk' else name}\n"
        with monkeypatch.context() as patch:
            patch.syspath_prepend(write_package(tmp_path / str(number), points, youden=module))
            patch.delitem(sys.modules, "youden", raising=False)
            with pytest.raises(ValueError, match=f"entry point {name} of teledx_fed.metrics must {message}"):
                all_metrics()


def wrong(patients: np.ndarray) -> np.ndarray:
    return patients


@pytest.mark.slow
def test_the_example_is_in_the_report_and_on_its_page(package: Path, tmp_path: Path) -> None:
    smaller = ["~data.hospitals.island", "~data.hospitals.valley", "data.image_size=64", "model.name=test_efficientnet"]
    smaller += ["data.hospitals.north.patients=24", "data.hospitals.harbour.patients=30", "simulation.threads=1"]
    smaller += ["model.initial=none", "federation.rounds=1", "evaluation.replicates=30", "outbound.min_patients=2"]
    smaller += ["baselines=[]", "bundles=false", "folder=run", "data.cache=cache"]
    environment = {**os.environ, "PYTHONPATH": str(package), "CI": "true"}
    command = [sys.executable, str(ROOT / "run_simulation.py"), *smaller]
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert -1 <= report["federated"]["all_patients"]["youden"]["value"] <= 1
    assert '<th scope="row">Youden&#39;s J</th>' in (tmp_path / "run" / "report.html").read_text()
