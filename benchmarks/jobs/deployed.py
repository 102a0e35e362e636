"""A whole federation on this machine, started as people start it: server, hospitals, TLS, keys; and faults in it.

Benchmarks and tests use it. It is here because a test may import `benchmarks`, while `tests` is not a package.
"""

import json
import os
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from benchmarks.jobs.processes import command_line, descendants, draw_photographs, free_port
from teledx_fed.deployment.common import plans
from teledx_fed.deployment.site import approvals
from teledx_fed.deployment.site.settings import SiteDirectory

ROOT = Path(__file__).parents[2]


PATIENCE = 300.0


ASKED = ("quick_full", "data.image_size=64", "outbound.min_patients=2", "evaluation.replicates=20")


LIMITS = {
    "networks": ["tf_efficientnet_b0", "test_efficientnet"],
    "training_patients": 5,
    "steps": [1, 1000],
    "test_answers": 100,
    "disk": 0.1,
    "cores": 1,
}
"""Limits of hospitals that are far smaller than real ones."""


@dataclass
class Federation:
    """A federation with its folders in `folder`; all its processes end with the context that `running` opens."""

    folder: Path
    python: str = sys.executable
    port: int = field(default_factory=free_port)
    variables: Mapping[str, str] = field(default_factory=dict)
    hosts: Sequence[str] = ("localhost",)
    within: dict[str, Sequence[str]] = field(default_factory=dict)
    """First words of a hospital's command line, such as `ip netns exec NAME`."""
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def server(self) -> Path:
        return self.folder / "server"

    def site(self, name: str) -> Path:
        return self.folder / name

    def run_folder(self, run: str) -> Path:
        return self.server / "runs" / run

    def command(self, module: str, *arguments: object) -> str:
        """Return the output of `python -m module arguments`. Raise a `RuntimeError` with its errors if it fails."""
        return self._run(self._line(module, *arguments))

    def python_code(self, code: str) -> None:
        self._run([self.python, "-c", code])

    def _run(self, line: Sequence[str]) -> str:
        """Run a command in a folder without code, so that Python finds code only through `PYTHONPATH`."""
        done = subprocess.run(line, env=self.environment(), cwd=self.folder, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stderr.strip() or done.stdout.strip())
        return done.stdout

    def send_to_server(self, request: bytes) -> bytes:
        """Send raw bytes over TLS, and return the response."""
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection,
            self.trusting().wrap_socket(connection, server_hostname="localhost") as server,
        ):
            server.sendall(request)
            return server.recv(1 << 16)

    def serve(self) -> None:
        if not self.server.exists():
            hosts = [word for host in self.hosts for word in ("--host", host)]
            self.command("server", "init", self.server, *hosts)
            self.change("server", port=self.port, control_port=free_port(), wait_seconds=240, watch={"listen": None})
        before = self.output("server").count("up:")
        process = self._start("server", "server", "start", "--dir", self.server)
        until = time.monotonic() + PATIENCE
        while self.output("server").count("up:") == before:
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError(f"the server is not up: {self.output('server')}")
            time.sleep(0.2)

    def enrol(
        self,
        name: str,
        patients: int = 30,
        port: int | None = None,
        admit: bool = True,
        within: Sequence[str] = (),
        **settings: Any,
    ) -> None:
        """Draw a hospital's photographs, make its folder, admit it. `order` approves every plan for it."""
        self.within[name] = within
        photographs = self.folder / "photographs" / name
        draw_photographs(photographs, name, patients)
        address = f"localhost:{port or self.port}"
        authority = self.server / "certificates" / "ca.crt"
        self.command("sites", "init", self.site(name), "--name", name, "--server", address, "--ca", authority)
        self.change(name, data={"root": str(photographs)}, device="cpu", limits=LIMITS)
        self.change(name, outbound={"min_patients": 2}, watch={"listen": None}, **settings)
        if admit:
            self.admit(name)

    def admit(self, name: str) -> None:
        self.command("server", "admit", self.site(name) / "keys" / "site.pub", "--name", name, "--dir", self.server)

    def wait_until_online(self, name: str) -> None:
        def online() -> bool:
            sites = json.loads(self.command("server", "status", "--json", "--dir", self.server))["sites"]
            return any(site["name"] == name and site["online"] for site in sites)

        self.wait(online, f"{name} to be online", PATIENCE)

    def shown_certificate(self) -> bytes | None:
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection,
            self.trusting().wrap_socket(connection, server_hostname="localhost") as server,
        ):
            return server.getpeercert(binary_form=True)

    def trusting(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.server / "certificates" / "ca.crt")

    def change(self, who: str, **settings: Any) -> None:
        """Rewrite a settings file with these values in place of its own."""
        file = self.server / "server.yaml" if who == "server" else self.site(who) / "site.yaml"
        OmegaConf.save(OmegaConf.merge(OmegaConf.load(file), settings), file)

    def join(self, name: str, limits: Mapping[int, int] = {}, module: str = "sites") -> None:
        """Start a hospital's process; `limits` are by their number in `resource`."""

        def limit() -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            for resource_, most in limits.items():
                resource.setrlimit(resource_, (most, most))

        self._start(name, module, "join", "--dir", self.site(name), before=limit)

    def leave(self, name: str) -> int:
        """End a hospital with `sites leave`, and return its exit code."""
        self.command("sites", "leave", "--dir", self.site(name))
        return self.processes.pop(name).wait(120)

    def empty_cache(self, name: str) -> None:
        shutil.rmtree(self.site(name) / "cache", ignore_errors=True)

    def order(self, run: str, *overrides: str) -> None:
        choices = (*ASKED, *overrides)
        self.approve(*choices)
        self.command("server", "run", *choices, "--name", run, "--detach", "--dir", self.server)

    def approve(self, *choices: str) -> None:
        """Approve the plan of one more run at all hospitals."""
        self.command("server", "plan", *choices, "--out", self.folder / "plan.json", "--dir", self.server)
        plan = plans.read(self.folder / "plan.json")
        for name in self.within:
            approvals.approve(SiteDirectory(self.site(name)), plan, "R1", "2099-01-01")

    def resume(self, run: str) -> None:
        self.command("server", "resume", run, "--detach", "--dir", self.server)

    def status(self, run: str) -> str:
        runs = json.loads(self.command("server", "list", "--json", "--dir", self.server))["runs"]
        return str(next((run["status"] for run in runs if run["run"] == run), "unknown"))

    def rounds(self, run: str) -> list[dict[str, Any]]:
        file = self.run_folder(run) / "rounds.jsonl"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def wait_for_rounds(self, run: str, count: int, seconds: float = PATIENCE) -> None:
        self.wait(lambda: len(self.rounds(run)) >= count, f"{count} rounds of {run}", seconds)

    def wait_until_done(self, run: str, seconds: float = PATIENCE) -> Path:
        """Wait for the end of a run, and return the path of its model."""
        model = self.run_folder(run) / "model.safetensors"
        self.wait(model.exists, f"the end of {run}", seconds)
        return model

    def wait_for_output(self, who: str, text: str, seconds: float = PATIENCE) -> None:
        self.wait(lambda: text in self.output(who), f"{who} to say {text!r}", seconds)

    def wait(self, met: Callable[[], bool], purpose: str, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not met():
            if time.monotonic() > until:
                outputs = {who: self.output(who)[-3000:] for who in self.processes}
                raise TimeoutError(f"waited {seconds:g} s for {purpose}; {json.dumps(outputs, indent=1)}")
            time.sleep(0.3)

    def output(self, who: str) -> str:
        """Return the output of a process, and of a hospital's SuperNode."""
        logs = [self.folder / f"{who}.log", self.site(who) / "state" / "supernode.log"]
        return "".join(log.read_text(errors="replace") for log in logs if log.exists())

    def kill(self, who: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to the process, not to those that it started."""
        process = self.processes[who]
        process.send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            process.wait(120)

    def bound(self, who: str, limit: int, most: int) -> None:
        """Set a limit, by its number in `resource`, for a running process and all that it started."""
        process = self.processes[who].pid
        for member in (process, *descendants(process)):
            _, hard = resource.prlimit(member, limit)
            resource.prlimit(member, limit, (most, hard))

    def kill_child(self, who: str, command: str) -> None:
        """Kill the processes that `who` started and whose command line contains `command`."""
        children = [child for child in descendants(self.processes[who].pid) if command in command_line(child)]
        for child in children:
            os.kill(child, signal.SIGKILL)
        assert children, f"{who} has no process {command}"

    def _start(
        self, who: str, module: str, *arguments: object, before: Callable[[], None] = lambda: None
    ) -> subprocess.Popen[bytes]:
        with (self.folder / f"{who}.log").open("ab") as log:
            line = [*self.within.get(who, ()), *self._line(module, *arguments)]
            self.processes[who] = subprocess.Popen(
                line, env=self.environment(), stdout=log, stderr=log, cwd=self.folder, preexec_fn=before
            )
        return self.processes[who]

    def environment(self) -> dict[str, str]:
        fixed = {"PYTHONPATH": str(ROOT), "NO_PROXY": "127.0.0.1,localhost", "OMP_NUM_THREADS": "1"}
        return {**os.environ, **fixed, **self.variables}

    def _line(self, module: str, *arguments: object) -> Sequence[str]:
        return [self.python, "-m", module, *map(str, arguments)]


@contextmanager
def running(
    folder: Path, environment: Mapping[str, str] = {}, hosts: Sequence[str] = ("localhost",)
) -> Iterator[Federation]:
    """Yield a federation whose server is up."""
    folder.mkdir(parents=True, exist_ok=True)
    federation = Federation(folder, variables=environment, hosts=hosts)
    try:
        federation.serve()
        yield federation
    finally:
        for process in reversed(federation.processes.values()):
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait()
