"""The head of docs/extending.md, as an installed third-party package."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from extension_package import example, write_example

from teledx_fed.config import loading
from teledx_fed.config.learning import ModelSettings
from teledx_fed.config.loading import compose
from teledx_fed.config.settings import Settings
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.examples import Site
from teledx_fed.deployment.common.plans import Plan, bound
from teledx_fed.deployment.common.refusal import Refusal
from teledx_fed.deployment.site.plan_wording import page
from teledx_fed.deployment.site.settings import LimitSettings, SiteSettings
from teledx_fed.deployment.site.terms import plan_refusal
from teledx_fed.model.heads import HEADS, head_of
from teledx_fed.model.network import build
from teledx_fed.training.worker import Worker

ROOT = Path(__file__).parents[2]
HEADING = "A head"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delitem(sys.modules, "ordinal", raising=False)
    return write_example(HEADING, tmp_path / "installed")


def test_an_installed_head_learns_grades(
    package: Path,
    tiny_settings: Callable[..., Settings],
    tiny_site: Callable[..., Site],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.syspath_prepend(package)
    plain, site = tiny_settings(training__class_balance="none"), tiny_site("north")
    settings = replace(plain, model=replace(plain.model, head="ordinal"))
    worker = Worker(build(settings.model, 0))
    order = replace(settings.local_training(1), optimizer="adam", learning_rate=1e-2, epochs=4)
    first = worker.train(site, worker.initial, order, 1)
    last = worker.train(site, first.model, order, 2)
    assert last.loss < first.loss
    predictions = worker.predictions(site.images, last.model, site.shard.validation)
    assert predictions.probabilities is not None
    np.testing.assert_allclose(predictions.probabilities.sum(axis=1), 1)
    assert head_of("ordinal").tables == HEADS["grade"].tables


def test_a_head_that_is_not_installed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model\.head must be one of grade, referable, got 'ordinal'"):
        ModelSettings(head="ordinal")


def test_a_hospital_refuses_an_installed_head_whatever_its_limits(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(package)
    requested = Settings(model=ModelSettings(head="ordinal"))
    assert plan_refusal(requested, LimitSettings(heads=["ordinal"])) is Refusal.HEAD
    assert "ordinal" not in sys.modules


def test_an_installed_head_is_not_imported_to_show_a_plan_or_to_compose_a_run(
    package: Path, tiny_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(package)
    plain = tiny_settings()
    settings = replace(plain, model=replace(plain.model, head="ordinal"))
    plan = Plan("0.1.0", "test", "0" * 64, {"seed": 0, **bound(settings)})
    attempts = (
        lambda: page(plan, SiteSettings("north", "localhost:9092"), runs=1),
        lambda: compose(["experiment=quick", "model.head=ordinal"]),
        lambda: loading.build(asdict(settings)),
    )
    for attempt in attempts:
        with pytest.raises(ConfigurationError, match=r"model\.head must be one of grade, referable, got 'ordinal'"):
            attempt()
    assert "ordinal" not in sys.modules
    assert loading.build(asdict(settings), local=True) == settings


@pytest.mark.slow
def test_the_example_runs(package: Path, tmp_path: Path) -> None:
    words = example(HEADING)["sh"].split()
    smaller = ["~data.hospitals.island", "~data.hospitals.valley", "data.image_size=64", "model.name=test_efficientnet"]
    smaller += ["data.hospitals.north.patients=24", "data.hospitals.harbour.patients=30", "simulation.threads=1"]
    smaller += ["model.initial=none", "federation.rounds=1", "evaluation.replicates=30", "outbound.min_patients=2"]
    command = [sys.executable, str(ROOT / words[1]), *words[2:], *smaller, "baselines=[]", "folder=run", "data.cache=c"]
    environment = {**os.environ, "PYTHONPATH": str(package), "CI": "true"}
    process = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-3000:]
    assert json.loads((tmp_path / "run" / "report.json").read_text())["head"] == "ordinal"
