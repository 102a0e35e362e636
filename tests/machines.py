"""Several machines on this one, each with its own network, processes, /srv, /media and systemd units.

They are namespaces of the kernel, and disappear with the test. Only root can make them.
"""

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

STAND_IN = Path(__file__).with_name("systemd_stand_in.py")
OWN = {"srv": "/srv", "media": "/media", "units": "/etc/systemd/system"}
CLEAN = ("PYTHON", "VIRTUAL_ENV", "PIP_", "UV_", "MAKE", "MFLAGS", "COVERAGE")
"""Prefixes of environment variables that a new login does not have."""


class Terminal:
    """A shell on a machine; its folder and variables last from block to block."""

    def __init__(self, shell: subprocess.Popen[str], log: Path) -> None:
        """Write all output of `shell` to the file `log`."""
        self._shell, self._log, self._end = shell, log, f"end {uuid.uuid4().hex}"

    def run(self, block: str, may_fail: bool = False) -> tuple[int, str]:
        """Return exit status and output. If a command fails that must not, an `AssertionError` has the output."""
        assert self._shell.stdin is not None
        whole = f"(set -e\n{block}\n) < /dev/null || failed=$?" if may_fail else f"{{\n{block}\n}} < /dev/null"
        self._shell.stdin.write(f'failed=0\n{whole}\nprintf "\\n{self._end} %s\\n" "$failed"\n')
        self._shell.stdin.flush()
        return self._read(block)

    def _read(self, block: str) -> tuple[int, str]:
        assert self._shell.stdout is not None
        output = ""
        with self._log.open("a") as log:
            log.write(f"\n{datetime.now():%H:%M:%S}\n{block.rstrip()}\n")
            for line in self._shell.stdout:
                if line.startswith(self._end):
                    return int(line.split()[-1]), output
                log.write(line)
                output += line
        raise AssertionError(f"this ended badly:\n{block}\nIt said:\n{output}")


class Machine:
    def __init__(self, name: str, folder: Path, shell: subprocess.Popen[str]) -> None:
        self.name, self.folder, self.process = name, folder, shell.pid
        self.terminal = Terminal(shell, folder / "terminal.log")

    def path(self, path: str) -> Path:
        """Return the path outside the machine of a path under /srv or /media."""
        return self.folder / path.removeprefix("/")

    def knows(self, hosts: Mapping[str, str]) -> None:
        lines = {"localhost": "127.0.0.1", **hosts}
        (self.folder / "hosts").write_text("".join(f"{address} {name}\n" for name, address in lines.items()))
        self.terminal.run(f"mount --bind '{self.folder}/hosts' /etc/hosts")

    def shows(self, far: Path, near: str) -> None:
        """Mount another folder on this machine, read-only."""
        self.terminal.run(f"mkdir -p {near}\nmount --bind '{far}' {near}\nmount -o remount,ro,bind {near}")


@contextmanager
def machine(name: str, folder: Path) -> Iterator[Machine]:
    for own in OWN:
        (folder / own).mkdir(parents=True)
    (folder / "commands").mkdir()
    _command(folder / "commands" / "sudo", 'exec "$@"')
    _command(folder / "commands" / "systemctl", f"exec '{sys.executable}' '{STAND_IN}' '{folder}/journal' \"$@\"")
    namespaces = ("--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
    with subprocess.Popen(
        ["unshare", *namespaces, "bash", "-e", "-s"],
        env=_environment(folder),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as shell:
        try:
            made = Machine(name, folder, shell)
            made.terminal.run("ip link set lo up")
            for own, place in OWN.items():
                made.terminal.run(f"mkdir -p {place}\nmount --bind '{folder / own}' {place}")
            yield made
        finally:
            shell.kill()


def _environment(folder: Path) -> dict[str, str]:
    variables = {name: value for name, value in os.environ.items() if not name.startswith(CLEAN)}
    commands = (folder / "commands", Path(sys.base_prefix) / "bin", "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin")
    return {**variables, "HOME": "/srv/teledx", "PATH": os.pathsep.join(map(str, commands))}


def _command(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)


def connect(one: Machine, other: Machine, number: int) -> tuple[str, str]:
    """Connect two machines by a cable, and return the addresses at its ends."""
    ends = {one: f"192.0.2.{4 * number + 1}", other: f"192.0.2.{4 * number + 2}"}
    cable = f"cable{number}"
    near, far = (["netns", str(end.process)] for end in ends)
    subprocess.run(["ip", "link", "add", cable, *near, "type", "veth", "peer", "name", cable, *far], check=True)
    for end, address in ends.items():
        end.terminal.run(f"ip address add {address}/30 dev {cable}\nip link set {cable} up")
    return ends[one], ends[other]


@contextmanager
def federation(folder: Path, host: str, hospitals: tuple[str, ...]) -> Iterator[dict[str, Machine]]:
    """Yield a coordinator's machine with the name `host`, and hospitals' machines that can only reach it."""
    with ExitStack() as stack:
        machines: dict[str, Any] = {
            name: stack.enter_context(machine(name, folder / name)) for name in ("coordinator", *hospitals)
        }
        for number, name in enumerate(hospitals):
            address, _ = connect(machines["coordinator"], machines[name], number)
            machines[name].knows({host: address})
        machines["coordinator"].knows({host: "127.0.0.1"})
        yield machines
