"""The strategy of docs/extending.md, installed as another package."""

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from extension_package import install
from federated_world import World

from teledx_fed.config.loading import build, compose, load, save
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site
from teledx_fed.federation.strategies.registry import local_strategy_of, strategy_of


@pytest.fixture
def settings(tmp_path: Path, tiny_settings: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Install the package of the strategy, and return settings that name the strategy."""
    plain = tiny_settings()
    name = install("A strategy", tmp_path / "installed", monkeypatch)
    return replace(plain, strategy=replace(plain.strategy, name=name))


def test_a_strategy_of_another_package_runs_two_rounds(
    settings: Settings, tiny_site: Callable[..., Site], tmp_path: Path
) -> None:
    """Round 1 has no earlier update: its step is that of FedAvg. Round 2 uses the mean of both updates."""
    save(settings, tmp_path / "config.yaml")
    kept = load(tmp_path / "config.yaml", local=True)
    sites = [tiny_site("north", 5), tiny_site("south", 5)]
    first, second, *_ = [progress for progress, _ in World(kept, sites, tmp_path / "run").run()]
    averaged = replace(kept, strategy=replace(kept.strategy, name="fedavg"))
    reference, *_ = World(averaged, sites, tmp_path / "reference").run()
    np.testing.assert_allclose(first.weights.parameters, reference[0].weights.parameters, atol=1e-6)
    step = (first.memory["update"] + second.memory["update"]) / 2
    assert np.array_equal(second.weights.parameters, first.weights.parameters + step)


def test_a_strategy_of_another_package_is_refused_outside_a_local_run(settings: Settings, tmp_path: Path) -> None:
    save(settings, tmp_path / "config.yaml")
    refused: tuple[Callable[[], object], ...] = (
        lambda: build(asdict(settings)),
        lambda: load(tmp_path / "config.yaml"),
        lambda: compose(["experiment=quick", f"strategy.name={settings.strategy.name}"]),
        lambda: strategy_of(settings),
        lambda: local_strategy_of(replace(settings, simulation=replace(settings.simulation, backend="ray"))),
    )
    for attempt in refused[:4]:
        with pytest.raises(ValueError, match=r"strategy\.name must be one of fedavg, .*Choose one of these"):
            attempt()
    assert "averaged_steps" not in sys.modules, "no code of the package ran"
    with pytest.raises(ValueError, match=r"simulation\.backend with averaged_steps must be one of in_process"):
        refused[4]()
