"""A real federation on this machine with SuperLink, SuperNodes, TLS and keys: bit-identical to the simulation."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.jobs.deployed import Federation, running
from teledx_fed.config.data import SourceSettings
from teledx_fed.config.loading import build
from teledx_fed.config.run import SimulationSettings
from teledx_fed.core.randomness import generator
from teledx_fed.core.reports import SILENT
from teledx_fed.data.hospitals import hospitals
from teledx_fed.federation.simulation import federate
from teledx_fed.model.network import build as build_network
from teledx_fed.training.worker import Worker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
SITES = ("north", "south", "east")
TINY = ("model.name=test_efficientnet", "model.initial=none")


@contextmanager
def of_three(folder: Path, environment: Mapping[str, str] = {}) -> Iterator[Federation]:
    with running(folder, environment) as started:
        for name in SITES:
            started.enrol(name)
            key = generator(0, name, purpose="split").bytes(32)  # the split of a simulation with seed 0
            (started.site(name) / "secrets" / "split.key").write_bytes(key)
            started.join(name)
        yield started


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    with of_three(tmp_path_factory.mktemp("federation")) as started:
        yield started


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Install the project's wheel in a folder without the repository, and return the folder."""
    pip, wheels = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"), tmp_path / "wheels"
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", wheels, ROOT], check=True)
    subprocess.run([*pip, "install", "--no-deps", "--target", tmp_path / "here", *wheels.iterdir()], check=True)
    return tmp_path / "here"


def simulated(federation: Federation, run: str, folder: Path) -> bytes:
    """Return the model of a simulation with the same settings."""
    request = json.loads((federation.run_folder(run) / "request.json").read_text())
    run_settings = build(json.loads(request["settings"]))
    sources = {name: SourceSettings(root=str(federation.folder / "photographs" / name)) for name in SITES}
    settings = replace(
        run_settings,
        data=replace(run_settings.data, sources=sources, cache=str(folder / "cache")),
        simulation=SimulationSettings(threads=1, device="cpu"),
    )
    worker = Worker(build_network(settings.model, settings.seed))
    sites = hospitals(settings, folder, SILENT)
    federate(sites, [worker], settings, folder)
    return (folder / "model.safetensors").read_bytes()


def test_the_final_weights_are_bit_identical_to_the_simulation(federation: Federation, tmp_path: Path) -> None:
    federation.order("whole", "federation.rounds=2", "federation.quorum=3")
    model = federation.wait_until_done("whole", seconds=300)
    assert [line["accepted"] for line in federation.rounds("whole")] == [sorted(SITES)] * 3
    assert model.read_bytes() == simulated(federation, "whole", tmp_path)


def test_both_audit_logs_agree(federation: Federation) -> None:
    log = federation.server / "audit.jsonl"
    for name in SITES:
        verified = federation.command("sites", "audit", "verify", "--against", log, "--dir", federation.site(name))
        assert verified == "nothing was changed\n"


def test_a_killed_server_resumes_to_the_same_weights(federation: Federation, tmp_path: Path) -> None:
    federation.order("killed", *TINY, "federation.rounds=4", "federation.quorum=3")
    federation.wait_for_rounds("killed", 1)
    federation.kill("server")
    federation.serve()
    federation.resume("killed")
    model = federation.wait_until_done("killed")
    assert model.read_bytes() == simulated(federation, "killed", tmp_path)


def test_an_installed_wheel_gives_the_same_weights(installed: Path, tmp_path: Path) -> None:
    with of_three(tmp_path / "federation", {"PYTHONPATH": str(installed)}) as federation:
        for module in ("server", "sites", "teledx_fed.config.settings"):
            code = f"import {module} as found; assert found.__file__.startswith({str(installed)!r}), found.__file__"
            federation.python_code(code)
        federation.order("installed", *TINY, "federation.rounds=2", "federation.quorum=3")
        model = federation.wait_until_done("installed")
        assert model.read_bytes() == simulated(federation, "installed", tmp_path / "simulated")
