"""The coordinator's commands when a run or port changes at the same moment."""

import json
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from benchmarks.jobs.deployed import ROOT, Federation
from benchmarks.jobs.processes import free_port
from teledx_fed.core.errors import ConfigurationError, RefusedError
from teledx_fed.deployment.server import control, run_requests
from teledx_fed.deployment.server.control import RunRequest
from teledx_fed.deployment.server.overview import FlowerRun
from teledx_fed.deployment.server.settings import ServerDirectory


@pytest.mark.parametrize("ended", [True, False])
def test_stop_accepts_a_run_that_ends_meanwhile(ended: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A new server marks a killed server's run as failed after some seconds; a resume may come before that."""
    statuses = iter(["running", "failed" if ended else "running"])

    @contextmanager
    def refusing(directory: ServerDirectory) -> Iterator[None]:
        raise RefusedError("the server refused: Run is already finished.")
        yield

    monkeypatch.setattr(control, "runs", lambda directory: [FlowerRun(7, "first", next(statuses), "")])
    monkeypatch.setattr(control, "control", refusing)
    if ended:
        control.stop(ServerDirectory(tmp_path), "first")
    else:
        with pytest.raises(RefusedError, match="the server refused"):
            control.stop(ServerDirectory(tmp_path), "first")


def test_a_run_that_the_server_does_not_have_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(control, "runs", lambda directory: [FlowerRun(7, "other", "running", "")])
    request = RunRequest("first", "", json.dumps({"federation": {"rounds": 1}}))
    with pytest.raises(ConfigurationError, match="run must be one that the server has, got 'first'"):
        run_requests.watch(ServerDirectory(tmp_path), request)


@pytest.mark.slow
@pytest.mark.parametrize("taken", ["port", "control_port"])
def test_a_taken_port_is_an_error(taken: str, tmp_path: Path) -> None:
    federation = Federation(tmp_path)
    federation.command("server", "init", federation.server, "--host", "localhost")
    with socket.create_server(("127.0.0.1", 0)) as other:
        ports = {"port": free_port(), "control_port": free_port(), taken: other.getsockname()[1]}
        federation.change("server", listen="127.0.0.1", watch={"listen": None}, **ports)
        command = [sys.executable, "-m", "server", "start", "--dir", str(federation.server)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 1
    assert "error: port and control_port must be free, got" in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("certificate", ["server.crt", "loopback/server.crt"])
def test_a_server_without_its_certificate_ends_with_a_clear_error(certificate: str, tmp_path: Path) -> None:
    federation = Federation(tmp_path)
    federation.command("server", "init", federation.server, "--host", "localhost")
    ports = {"port": free_port(), "control_port": free_port()}
    federation.change("server", listen="127.0.0.1", watch={"listen": None}, **ports)
    (federation.server / "certificates" / certificate).unlink()
    command = [sys.executable, "-m", "server", "start", "--dir", str(federation.server)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert re.search(r"error: .*certificates.* must .*, got: No such file or directory", ended.stderr)
