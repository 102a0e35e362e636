"""Rounds in Ray actors: runs of `run_simulation.py` on this machine and on a cluster of two nodes."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest
from flwr.clientapp import ClientApp

from teledx_fed.config.settings import Settings
from teledx_fed.federation.ray_runtime import ray_grid, travelling

ROOT = Path(__file__).parents[2]
TINY = [
    "~data.hospitals.island",
    "~data.hospitals.valley",
    "data.hospitals.north.patients=24",
    "data.hospitals.harbour.patients=30",
    "data.image_size=64",
    "model.name=test_efficientnet",
    "model.initial=none",
    "model.batch_norm=local",
    "training.epochs=1",
    "federation.rounds=3",
    "evaluation.replicates=50",
    "outbound.min_patients=2",
    "simulation.device=cpu",
    "simulation.threads=1",
    "baselines=[]",
]

with_ray = pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install teledx-fed[ray]")


def test_paths_in_settings_are_absolute_for_other_working_directories(
    tiny_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sources = {"clinic": {"layout": "folder", "root": "photographs"}}
    data = {"hospitals": {}, "sources": sources, "cache": "cache"}
    settings = tiny_settings(data=data, data_root="photographs", model__initial="file", model__file="b0.safetensors")
    there = travelling(settings, Path("run"))
    assert there.folder == str(tmp_path / "run")
    assert there.data.cache == str(tmp_path / "cache")
    assert there.data.sources["clinic"].root == str(tmp_path / "photographs")
    assert there.model.file == str(tmp_path / "b0.safetensors")


def test_without_ray_the_error_names_the_package_to_install(
    tiny_settings: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(ValueError, match=r"pip install teledx-fed\[ray\]"),
        ray_grid(ClientApp(), ["north"], tiny_settings(), tmp_path),
    ):
        pass


@contextmanager
def simulation(folder: Path, *overrides: str, address: str | None = None) -> "Iterator[subprocess.Popen[str]]":
    """Start `run_simulation.py` in a working directory that is not that of its actors."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **({"RAY_ADDRESS": address} if address else {})}
    command = [sys.executable, str(ROOT / "run_simulation.py"), *overrides]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=folder.parent, env=environment, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def finish(process: "subprocess.Popen[str]") -> None:
    _, output = process.communicate(timeout=300)
    assert process.returncode == 0, output


def left(folder: Path) -> dict[str, object]:
    """Return the results of a run without its times."""
    rounds = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    report = json.loads((folder / "report.json").read_text())
    for timed in (*rounds, report):
        del timed["seconds"]
        timed.pop("ended", None)
    states = {str(path.relative_to(folder)): path.read_bytes() for path in (folder / "sites").rglob("*.*")}
    models = {name: (folder / f"{name}.safetensors").read_bytes() for name in ("model", "last")}
    return {"rounds": rounds, "report": report, **states, **models}


@pytest.fixture(scope="module")
def in_process(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    folder = tmp_path_factory.mktemp("in_process") / "run"
    with simulation(folder, *TINY, f"folder={folder}") as process:
        finish(process)
    return left(folder)


@contextmanager
def ray_node(*options: str) -> Iterator[None]:
    """Run a node with one CPU until the block ends."""
    command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus=1", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ray runtime started" in line:
                break
        else:
            pytest.fail("".join(lines))
        try:
            yield
        finally:
            process.terminate()
            process.communicate(timeout=60)


@contextmanager
def two_ray_nodes() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    with ExitStack() as nodes:
        nodes.enter_context(
            ray_node("--head", f"--port={port}", "--node-ip-address=127.0.0.1", "--include-dashboard=false")
        )
        nodes.enter_context(ray_node(f"--address={address}"))
        yield address


@with_ray
@pytest.mark.slow
def test_two_ray_nodes_give_the_same_bits_as_one_process(in_process: dict[str, object], tmp_path: Path) -> None:
    """Each node has room for one site, and a round runs both sites at once, so the run uses both nodes."""
    folder = tmp_path / "run"
    with (
        two_ray_nodes() as address,
        simulation(folder, *TINY, "simulation.backend=ray", f"folder={folder}", address=address) as process,
    ):
        finish(process)
    assert left(folder) == in_process


@with_ray
@pytest.mark.slow
def test_a_run_killed_on_ray_and_resumed_gives_the_same_bits(in_process: dict[str, object], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with simulation(folder, *TINY, "simulation.backend=ray", "simulation.workers=2", f"folder={folder}") as process:
        assert process.stderr is not None
        assert any(line.startswith("round 2/3") for line in process.stderr)
    with simulation(folder, f"resume={folder}") as process:
        finish(process)
    assert left(folder) == in_process
