"""The app that Flower runs for a hospital gives exactly the weights of the simulation, in one process and on Ray."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from flwr.app import UserConfig
from flwr.serverapp import Grid

from sites.app import app as site_app
from teledx_fed.config.settings import Settings
from teledx_fed.core.reports import SILENT
from teledx_fed.data.hospitals import hospitals
from teledx_fed.federation.checkpoint import Progress
from teledx_fed.federation.in_process import InProcessGrid
from teledx_fed.federation.ray_runtime import ray_grid
from teledx_fed.federation.simulation import conclude, coordinate, current_progress, federate
from teledx_fed.model.network import build
from teledx_fed.training.worker import Worker


@pytest.fixture
def settings(tiny_settings: Callable[..., Settings], tmp_path: Path) -> Settings:
    two_hospitals = {
        name: {"patients": 24, "camera": camera} for name, camera in (("north", "canon"), ("south", "zeiss"))
    }
    return tiny_settings(data__hospitals=two_hospitals, folder=str(tmp_path / "served"))


@pytest.fixture
def simulated(settings: Settings, tmp_path: Path) -> Progress:
    worker, folder = Worker(build(settings.model, settings.seed)), tmp_path / "simulated"
    federate(hospitals(settings, folder, SILENT), [worker], settings, folder)
    return current_progress(folder, worker)


def serve(grid: Grid, settings: Settings) -> Progress:
    folder, worker = Path(str(settings.folder)), Worker(build(settings.model, settings.seed))
    conclude(grid, coordinate(grid, worker, settings, folder), settings, folder)
    return current_progress(folder, worker)


@pytest.mark.slow
def test_the_app_that_flower_runs_is_bit_identical_to_the_simulation(settings: Settings, simulated: Progress) -> None:
    config: UserConfig = {"settings": json.dumps(asdict(settings))}
    served = serve(InProcessGrid([site_app], ["north", "south"], config), settings)
    assert served.round == simulated.round == 2
    assert served.weights.equal(simulated.weights)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install teledx-fed[ray]")
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_app_on_ray_is_bit_identical_to_the_simulation(settings: Settings, simulated: Progress) -> None:
    with ray_grid(site_app, ["north", "south"], settings, Path(str(settings.folder))) as grid:
        served = serve(grid, settings)
    assert served.round == simulated.round == 2
    assert served.weights.equal(simulated.weights)


@pytest.mark.slow
def test_sites_with_another_model_refuse_and_the_run_continues(settings: Settings, tmp_path: Path) -> None:
    other = replace(settings, model=replace(settings.model, head="referable"))
    grid = InProcessGrid([site_app], ["north", "south"], {"settings": json.dumps(asdict(other))})
    serve(grid, settings)
    lines = [json.loads(line) for line in (tmp_path / "served" / "rounds.jsonl").read_text().splitlines()]
    assert [line["refused"] for line in lines] == [{"north": "ValueError", "south": "ValueError"}] * 3
