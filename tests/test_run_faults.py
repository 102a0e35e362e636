"""A run with a full disk, a read-only folder or a folder in use: the error is one line, and no data are lost."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

ROOT = Path(__file__).parents[1]
TINY = [
    "~data.hospitals.island",
    "~data.hospitals.valley",
    "data.hospitals.north.patients=24",
    "data.hospitals.harbour.patients=24",
    "data.image_size=64",
    "model.name=test_efficientnet",
    "model.initial=none",
    "training.epochs=1",
    "federation.rounds=6",
    "baselines=[]",
    "bundles=false",
    "evaluation.replicates=20",
    "outbound.min_patients=2",
    "simulation.threads=1",
]
NOBODY = "65534"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def simulate(*choices: str) -> list[str]:
    return [sys.executable, str(ROOT / "run_simulation.py"), *choices]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"data.cache={tmp_path_factory.mktemp('cache')}"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def begin(*command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=500)

    return begin


@pytest.fixture
def own_mounts(run: Run, tmp_path: Path) -> Run:
    """Return a function that runs a script in a mount namespace of its own."""
    if run("unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)).returncode:
        pytest.skip("this user may not mount in a namespace of its own")
    return lambda script: run("unshare", "-m", "sh", "-c", script)


@pytest.fixture
def ward() -> Iterator[Path]:
    """Yield a folder that every user may read: pytest's folders are private to their owner."""
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def as_nobody(ward: Path) -> Run:
    """Return a function that runs a command in `ward` as a user who does not own it."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root may become another user")
    plain = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if subprocess.run([*plain, sys.executable, "-c", "import hydra"], capture_output=True).returncode:
        pytest.skip("another user may not read this Python")
    environment = os.environ | {"HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1"}

    def begin(*command: str) -> "subprocess.CompletedProcess[str]":
        complete = [*plain, *command]
        return subprocess.run(complete, cwd=ward, env=environment, capture_output=True, text=True, timeout=500)

    return begin


def refused(ended: "subprocess.CompletedProcess[str]", *words: str) -> None:
    assert ended.returncode == 1, ended.stderr
    assert "Traceback" not in ended.stderr
    (line,) = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert all(word in line for word in words), line


@pytest.mark.slow
def test_a_new_run_in_a_folder_of_another_user_is_refused(as_nobody: Run) -> None:
    refused(
        as_nobody(*simulate(*TINY)),
        "runs must be accessible to this user, got: Permission denied",
        "choose another folder",
    )


@pytest.mark.slow
def test_a_cache_without_write_permission_is_reported(as_nobody: Run, ward: Path) -> None:
    (ward / "open").mkdir()
    (ward / "open").chmod(0o777)
    ended = as_nobody(*simulate(*TINY, "folder=open/run"))
    refused(ended, ".teledx_cache must be accessible to this user", f"resume={ward / 'open' / 'run'}")


@pytest.mark.slow
def test_a_run_of_another_user_cannot_be_resumed(as_nobody: Run, ward: Path) -> None:
    (ward / "config.yaml").write_text("seed: 1\n")
    refused(as_nobody(*simulate(f"resume={ward}")), "must be accessible to this user, got: Permission denied")


@pytest.mark.slow
def test_a_read_only_folder_is_reported(own_mounts: Run, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    mount = f"mount -t tmpfs -o ro tmpfs {tmp_path / 'run'}"
    ended = own_mounts(f"{mount} && {shlex.join(simulate(*TINY, f'folder={tmp_path}/run'))}")
    refused(ended, "run/.lock must be writable, got: Read-only file system", "Mount it for writing")


@pytest.mark.slow
@pytest.mark.parametrize("size", ["600k", "1500k"])
def test_a_run_resumed_after_a_full_disk_has_the_same_bits(
    size: str, own_mounts: Run, run: Run, cache: str, tmp_path: Path
) -> None:
    complete, full, copy = (tmp_path / name for name in ("whole", "full", "kept"))
    assert run(*simulate(*TINY, cache, f"folder={complete}")).returncode == 0
    full.mkdir()
    first, again = (
        shlex.join(simulate(*choices)) for choices in ([*TINY, cache, f"folder={full}"], [f"resume={full}"])
    )
    ended = own_mounts(
        f"mount -t tmpfs -o size={size} tmpfs {full} && ! {first} && cp -r {full}/. {copy} "
        f"&& mount -o remount,size=100m {full} && {again} && cp {full}/model.safetensors {full}/rounds.jsonl {tmp_path}"
    )
    assert ended.returncode == 0, ended.stderr
    assert (
        "No space left on device. Free some disk space, or choose another folder. "
        f"Then continue the run with resume={full}" in ended.stderr
    )
    assert "Traceback" not in ended.stderr
    assert (tmp_path / "model.safetensors").read_bytes() == (complete / "model.safetensors").read_bytes()
    assert len((tmp_path / "rounds.jsonl").read_text().splitlines()) == 7
    assert not [path for path in copy.rglob(".*") if path.is_file()]  # no lock and no incomplete file


@pytest.mark.slow
def test_a_second_process_that_resumes_a_run_is_refused(run: Run, cache: str, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    pipe = subprocess.PIPE
    first = subprocess.Popen(
        simulate(*TINY, cache, "federation.rounds=30", f"folder={folder}"), cwd=tmp_path, stderr=pipe, text=True
    )
    assert first.stderr is not None
    next(line for line in first.stderr if line.startswith("round 2/"))
    first.kill()
    first.communicate()
    resumed = [subprocess.Popen(simulate(f"resume={folder}"), stderr=pipe, text=True) for _ in range(2)]
    waited = [process.communicate(timeout=500)[1] for process in resumed]
    assert sorted(process.returncode for process in resumed) == [0, 1]
    (second,) = [output for process, output in zip(resumed, waited, strict=True) if process.returncode]
    (winner,) = [process.pid for process in resumed if not process.returncode]
    assert f"error: {folder} must be free, got one in use by process {winner} on " in second
    assert [json.loads(line)["round"] for line in (folder / "rounds.jsonl").read_text().splitlines()] == [*range(1, 32)]


@pytest.mark.slow
def test_sigterm_ends_a_run_as_ctrl_c_does(cache: str, tmp_path: Path) -> None:
    command = simulate(*TINY, cache, "federation.rounds=400", f"folder={tmp_path / 'run'}")
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    next(line for line in process.stderr if line.startswith("round 2/"))
    process.send_signal(signal.SIGTERM)
    _, output = process.communicate(timeout=100)
    assert process.returncode == 128 + signal.SIGTERM
    assert f"interrupted: continue with resume={tmp_path / 'run'}" in output
    assert "Traceback" not in output
