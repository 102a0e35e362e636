"""A round without training over a real SuperLink: our resident worker, and apps that Flower starts for each message.

Two hospitals, EfficientNet-B0, TLS and keys, one machine. Ours answers from the resident worker. It is compared with
Flower's quickstart (named arrays, train and evaluate) and our own one-vector app, each in a process of its own.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from benchmarks.jobs.deployed import Federation, running
from benchmarks.jobs.deployed_apps import FOLDER, SITES
from benchmarks.jobs.processes import free_port
from benchmarks.jobs.task import ROOT, ROUNDS, sites
from benchmarks.measure import print_result

REPEATS = 2
OVERRIDES = (
    "quick_full",
    "data.image_size=96",
    "model.initial=none",
    "federation.quorum=2",
    f"federation.rounds={ROUNDS}",
)


def ours(folder: Path) -> float:
    """Return the median seconds of a round, without the first, which includes preparation."""
    with running(folder) as federation:
        for name in SITES:
            federation.enrol(name, patients=20)
            federation.join(name, module="benchmarks.jobs.idle_join")
        federation.approve(*OVERRIDES)
        federation.command("server", "run", *OVERRIDES, "--name", "idle", "--detach", "--dir", federation.server)
        federation.wait_until_done("idle", seconds=300)
        return median(line["seconds"] for line in federation.rounds("idle")[1:ROUNDS])


def flower_app_seconds(app: str, folder: Path) -> float:
    with running(folder, environment={FOLDER: str(folder)}) as federation, supernodes(federation):
        federation.python_code(START.format(app=app, server=str(federation.server)))
        seconds = folder / "seconds"
        federation.wait(seconds.exists, f"the rounds of {app}", 1800)
        return float(seconds.read_text()) / ROUNDS


START = """
from pathlib import Path
from teledx_fed.federation.flower import build_fab_from_files
from teledx_fed.deployment.server import control
from teledx_fed.deployment.server.control import RunRequest
from teledx_fed.deployment.server.settings import ServerDirectory
source = "from benchmarks.jobs.deployed_apps import {app}\\nserver_app, app = {app}()\\n".encode()
app = control.APP.replace("server.app:app", "apps:server_app").replace("sites.app:app", "apps:app")
files = {{"pyproject.toml": app.encode(), "apps.py": source}}
control.bundle = lambda: build_fab_from_files(files)[0]
control.start(ServerDirectory(Path({server!r})), RunRequest("{app}", "", ""))
"""


@contextmanager
def supernodes(federation: Federation) -> Iterator[None]:
    """Run Flower's own SuperNodes, one for each site."""
    with ExitStack() as stack:
        for number, name in enumerate(SITES):
            federation.enrol(name, patients=5)
            command = [
                *(Path(sys.executable).with_name("flower-supernode"), "--superlink", f"localhost:{federation.port}"),
                *("--root-certificates", federation.server / "certificates" / "ca.crt"),
                *("--auth-supernode-private-key", federation.site(name) / "keys" / "site.key"),
                *("--port", free_port(), "--node-config", f'partition-id={number} site="{name}"'),
            ]
            programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # for flower-superexec
            paths = {"FLWR_HOME": str(federation.folder / f"flwr-{name}"), "PATH": programs}
            node = subprocess.Popen(list(map(str, command)), env=federation.environment() | paths, cwd=ROOT)
            stack.callback(node.wait)
            stack.callback(node.terminate)
        yield


def main() -> None:
    sites()  # draws and prepares the photographs before the measurements
    taken: Mapping[str, list[float]] = {"ours": [], "named": [], "vector": []}
    for _ in range(REPEATS):
        for name, seconds in taken.items():
            with TemporaryDirectory() as folder:
                side = ours(Path(folder)) if name == "ours" else flower_app_seconds(name, Path(folder))
                seconds.append(side)
    medians = {name: median(seconds) for name, seconds in taken.items()}
    print_result(
        "deployed_round",
        {name: medians["ours"] / medians[name] for name in ("named", "vector")},
        at_most={"named": 0.35, "vector": 0.7},
        sides={f"{name}_seconds": seconds for name, seconds in medians.items()},
    )


if __name__ == "__main__":
    main()
