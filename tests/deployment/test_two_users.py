"""Two users: the user with network access cannot read photographs, and the user with photographs has no network key."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.jobs.deployed import ASKED, Federation, running
from benchmarks.jobs.processes import free_port

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can work as two users"),
]

ROOT = Path(__file__).parents[2]
PYTHON = shutil.which(f"python3.{sys.version_info.minor}", path="/usr/local/bin:/usr/bin")
WORKER, NETWORK = 20_001, 20_002
TINY = ("model.name=test_efficientnet", "model.initial=none", "federation.rounds=1")


def as_user(user: int) -> tuple[str, ...]:
    return "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"


def can_read(user: int, file: Path) -> bool:
    return subprocess.run([*as_user(user), "cat", str(file)], capture_output=True).returncode == 0


def give(folder: Path, user: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user, user)
    folder.chmod(0o700)


@pytest.fixture
def federation() -> Iterator[Federation]:
    """A federation in a folder that other users may traverse, with a Python that they may run."""
    if PYTHON is None:
        pytest.skip("there is no Python that every user can run")
    packages = {"PYTHONPATH": os.pathsep.join((str(ROOT), sysconfig.get_path("purelib")))}
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        with running(Path(folder), packages) as started:
            started.python = PYTHON
            yield started


def part(federation: Federation, site: Path, network: Path) -> None:
    """Give the key and the files for the connection to the network's user, and the rest to the worker's user."""
    for name in ("keys", "secrets", "state"):
        (network / name).mkdir(parents=True)
    (site / "keys" / "site.key").rename(network / "keys" / "site.key")
    for name in ("site.yaml", "ca.crt", "secrets/executor.key"):
        shutil.copy(site / name, network / name)
    give(site, WORKER)
    give(federation.folder / "photographs", WORKER)
    give(network, NETWORK)


def test_a_round_completes_with_two_users_who_cannot_read_each_other_s_files(federation: Federation) -> None:
    federation.enrol("north")
    federation.approve(*ASKED, *TINY)
    site, network, port = federation.site("north"), federation.site("network"), free_port()
    part(federation, site, network)
    photograph = next((federation.folder / "photographs").rglob("*.png"))
    assert can_read(WORKER, photograph)
    assert not can_read(NETWORK, photograph)
    assert not can_read(NETWORK, site / "secrets" / "split.key")
    assert can_read(NETWORK, network / "keys" / "site.key")
    assert not can_read(WORKER, network / "keys" / "site.key")
    federation.within.update(network=as_user(NETWORK), north=as_user(WORKER))
    federation._start("network", "sites", "connect", port, "--dir", network)
    federation._start("north", "sites", "join", "--node", port, "--dir", site)
    federation.command("server", "run", *ASKED, *TINY, "--name", "parted", "--detach", "--dir", federation.server)
    assert federation.wait_until_done("parted").exists()
    assert [line["accepted"] for line in federation.rounds("parted")] == [["north"]] * 2
