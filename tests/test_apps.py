"""The two apps that Flower runs, behind the in-process grid: the same bits as the simulation."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from flwr.app import Context, RecordDict

from server.app import app as server_app
from sites.app import app as site_app
from teledx_fed.data.hospitals import hospitals
from teledx_fed.federation.in_process import InProcessGrid
from teledx_fed.federation.simulation import federate, standing
from teledx_fed.model.network import build
from teledx_fed.settings import Settings
from teledx_fed.training.worker import Worker


@pytest.fixture
def settings(tiny_settings: Callable[..., Settings], tmp_path: Path) -> Settings:
    patients = {name: {"patients": 24, "camera": camera} for name, camera in (("north", "canon"), ("south", "zeiss"))}
    return tiny_settings(data__hospitals=patients, folder=str(tmp_path / "served"))


def test_the_apps_that_flower_runs_give_the_bits_of_the_simulation(settings: Settings, tmp_path: Path) -> None:
    config = {"settings": json.dumps(asdict(settings))}
    grid = InProcessGrid([site_app], ["north", "south"], config)
    server_app(grid=grid, context=Context(1, 1, {}, RecordDict(), config))
    worker = Worker(build(settings.model, settings.seed))
    folder = tmp_path / "simulated"
    sites = hospitals(settings, folder, lambda done, total: None, print)
    federate(sites, [worker], settings, folder, lambda report, rounds: None)
    served, simulated = standing(tmp_path / "served", worker), standing(folder, worker)
    assert served.round == simulated.round == 2
    assert served.weights.equal(simulated.weights)


def test_a_site_of_another_network_refuses_and_the_run_goes_on(settings: Settings, tmp_path: Path) -> None:
    other = replace(settings, model=replace(settings.model, head="seed"))
    grid = InProcessGrid([site_app], ["north", "south"], {"settings": json.dumps(asdict(other))})
    server_app(grid=grid, context=Context(1, 1, {}, RecordDict(), {"settings": json.dumps(asdict(settings))}))
    lines = [json.loads(line) for line in (tmp_path / "served" / "rounds.jsonl").read_text().splitlines()]
    assert [line["refused"] for line in lines] == [{"north": "ValueError", "south": "ValueError"}] * 3
