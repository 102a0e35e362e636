"""The checks against a real SuperLink."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loopback import HOST, named, states

from teledx_fed.deployment.common.audit import entries
from teledx_fed.deployment.server import control
from teledx_fed.deployment.server.settings import ServerDirectory
from teledx_fed.deployment.site.checks import server
from teledx_fed.deployment.site.settings import SiteDirectory


@pytest.fixture
def superlink(tmp_path: Path) -> Iterator[ServerDirectory]:
    directory = ServerDirectory(tmp_path / "server")
    run = [sys.executable, "-m", "server"]
    subprocess.run([*run, "init", directory.folder, "--host", HOST], check=True, capture_output=True)
    port, control_port = free_ports(2)
    text = f"hosts: ['{HOST}']\nlisten: {HOST}\nport: {port}\ncontrol_port: {control_port}\n"
    (directory.folder / "server.yaml").write_text(text)
    command = [*run, "start", "--dir", directory.folder, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["up"]
        yield directory
        process.send_signal(signal.SIGINT)


def free_ports(number: int) -> list[int]:
    probes = [socket.create_server((HOST, 0)) for _ in range(number)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@pytest.mark.slow
def test_a_check_shows_whether_a_real_server_admits_the_key_and_changes_nothing(
    superlink: ServerDirectory, write: Callable[..., SiteDirectory]
) -> None:
    directory = write(superlink.settings.port)
    directory.authority.write_bytes(superlink.authority.read_bytes())
    before = named(server.checks(directory))
    assert states(before) == {
        **dict.fromkeys(("name", "connection", "certificate", "clock"), "ok"),
        "admission": "fail",
    }
    control.admit(superlink, "north", directory.public_key)
    after = named(server.checks(directory))
    assert set(states(after).values()) == {"ok"}
    (node,) = control.nodes(superlink)
    assert not node.online
    assert node.online_since is None
    assert [entry["event"] for entry in entries(superlink.audit_log.path)] == ["laid out", "refused", "admitted"]
