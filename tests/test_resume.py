"""A run that is killed or interrupted continues with the same bits."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest
from runs import TINY, TWO_HOSPITALS, Start, finish, model

SMALL_B0 = [
    "experiment=quick_full",
    *TWO_HOSPITALS,
    "data.hospitals.north.patients=16",
    "data.hospitals.harbour.patients=20",
    "data.image_size=64",
    "training.batch_size=8",
    "evaluation.replicates=20",
    "outbound.min_patients=2",
    "baselines=[local,centralised]",
    "simulation.threads=1",
    "federation.rounds=3",
]
PHASES = {
    "preparation": "photographs",
    "the first round": "rounds",
    "a later round": "round 2/3",
    "after the rounds": "last model",
    "baselines": "Each hospital alone: north",
    "the test": "test",
    "the report": "report",
}


def kill_at(process: "subprocess.Popen[str]", line: str) -> None:
    """Send kill -9 as soon as the process prints that line."""
    assert process.stderr is not None
    for line_of_log in process.stderr:
        if line_of_log.startswith(line):
            os.killpg(process.pid, signal.SIGKILL)
            break
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, f"never said {line!r}"


@pytest.mark.slow
def test_an_interrupted_run_prints_how_to_continue(start: Start, tmp_path: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background processes ignore it
    process = start(*TINY, "baselines=[]", "federation.rounds=200", f"folder={tmp_path / 'run'}")
    signal.signal(signal.SIGINT, before)
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("round 2/"):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert f"interrupted: continue with resume={tmp_path / 'run'}" in err
    assert "Traceback" not in err


@pytest.mark.slow
def test_a_killed_sweep_continues_by_the_same_command(start: Start, tmp_path: Path) -> None:
    command = ["-m", *TINY, "baselines=[]", "strategy=fedavg,fedadam", "seed=0,1"]
    finish(start(*command, f"folder={tmp_path / 'whole'}"))
    folder = tmp_path / "sweep"
    kill_at(start(*command, f"folder={folder}"), "Federated referable AUROC")
    finish(start(*command, f"folder={folder}"))
    table = (folder / "grid.md").read_text()
    assert table == (tmp_path / "whole" / "grid.md").read_text()
    assert "Rows: seed; columns: strategy" in table


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fedavg", "fedadam"])
def test_a_run_killed_in_any_phase_and_resumed_equals_an_uninterrupted_one(
    strategy: str, start: Start, tmp_path: Path
) -> None:
    settings = [*SMALL_B0, f"strategy={strategy}"]
    whole = finish(start(*settings, f"folder={tmp_path / 'whole'}"))
    killed = tmp_path / "killed"
    kill_at(start(*settings, f"folder={killed}"), PHASES["preparation"])
    for phase in list(PHASES)[1:]:
        kill_at(start(f"resume={killed}"), PHASES[phase])
    assert finish(start(f"resume={killed}")) == killed
    assert model(killed) == model(whole)
    assert (killed / "last.safetensors").read_bytes() == (whole / "last.safetensors").read_bytes()
    for name in ("local-harbour", "local-north", "centralised"):
        file = f"baselines/{name}.safetensors"
        assert (killed / file).read_bytes() == (whole / file).read_bytes()
    reports = [json.loads((folder / "report.json").read_text()) for folder in (whole, killed)]
    for report in reports:
        assert report["refused"] == {"harbour": {}, "north": {}}
        del report["seconds"]
    assert reports[0] == reports[1]
