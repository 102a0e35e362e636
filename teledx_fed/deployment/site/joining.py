"""Run a hospital's worker in this process and Flower's SuperNode beside it, until a signal stops both."""

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from types import FrameType

from teledx_fed.core.errors import ConfigurationError, RefusedError
from teledx_fed.core.files import exclusive, write_text
from teledx_fed.deployment.common.certificates import days_left, expires
from teledx_fed.deployment.common.events import Watcher, disk
from teledx_fed.deployment.common.metrics import Metrics
from teledx_fed.deployment.common.monitoring import repeatedly, watched
from teledx_fed.deployment.common.settings import LOOPBACK
from teledx_fed.deployment.site.hospital import MessageHandler
from teledx_fed.deployment.site.monitoring import Tally, site_events, site_metrics
from teledx_fed.deployment.site.settings import SiteDirectory
from teledx_fed.deployment.site.supernode import exit_reason, launch
from teledx_fed.deployment.site.worker import serve

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
GRACE_SECONDS = 10.0
DRIVER = Path("/proc/driver/nvidia/version")


def join(directory: SiteDirectory, report: Callable[[str], None], node: int | None = None) -> None:
    """Take part until a signal. A `ConfigurationError` if site.yaml is wrong, a `RefusedError` if `join` runs already.

    `node` is the port of a SuperNode that another user runs with `connect`.
    """
    assert directory.settings.name
    with exclusive(_lock(directory)), stopped_by_signal() as stop:
        bound_memory(directory)
        write_text(_pid(directory), str(os.getpid()))
        tally = Tally()
        try:
            with _supernode(directory, stop, report, node) as supernode, _watched(directory, supernode, tally):
                handler = MessageHandler(directory, tally)
                serve(lambda: supernode.port, directory.executor_key, handler, lambda: not stop.is_set())
        finally:
            _pid(directory).unlink(missing_ok=True)


def connect(directory: SiteDirectory, port: int, report: Callable[[str], None]) -> None:
    """Run the SuperNode until a signal, for a worker of another user; it needs no access to photographs."""
    with exclusive(directory.state / "connect.lock"), stopped_by_signal() as stop:
        SuperNodeSupervisor(directory, lambda: port, stop, report).run()


def bound_memory(directory: SiteDirectory) -> None:
    """Limit this process to `limits.memory` (GB), but not with a GPU, whose driver maps more memory than it uses.

    With a GPU, `limits.gpu_memory` and the systemd unit limit it.
    """
    if directory.settings.device == "cpu" or not DRIVER.exists():
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = int(directory.settings.limits.memory * 1e9)
        resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


@contextmanager
def _supernode(
    directory: SiteDirectory, stop: Event, report: Callable[[str], None], node: int | None
) -> Iterator["SuperNodeSupervisor | ExternalSuperNode"]:
    if node is not None:
        yield ExternalSuperNode(node)
        return
    supervisor = SuperNodeSupervisor(directory, _free_port, stop, report)
    supervisor.start()
    try:
        yield supervisor
    finally:
        stop.set()
        supervisor.join()


@contextmanager
def _watched(
    directory: SiteDirectory, supernode: "SuperNodeSupervisor | ExternalSuperNode", tally: Tally
) -> Iterator[None]:
    watch = directory.settings.watch
    watcher = Watcher(directory.settings.name, directory.state / "reported.json", watch.webhook)

    def report_events() -> None:
        watcher.report(site_events(supernode.up, tally.failing, days_left(directory.authority), disk(directory.folder)))

    def metrics() -> Metrics:
        return site_metrics(tally, supernode.up, disk(directory.folder), expires(directory.authority))

    with watched(watch.listen, metrics, lambda: {"supernode": supernode.up}), repeatedly(report_events):
        yield


def leave(directory: SiteDirectory) -> None:
    """Stop the `join` of this folder. A `ConfigurationError` if none runs."""
    if not _has_joined(directory) or not _pid(directory).exists():
        raise ConfigurationError(
            f"{directory.folder} must be of a hospital that has joined, got one without a running join. "
            "There is nothing to stop."
        )
    os.kill(int(_pid(directory).read_text()), signal.SIGTERM)
    while _pid(directory).exists():
        time.sleep(0.1)


@contextmanager
def stopped_by_signal() -> Iterator[Event]:
    """Yield an event that SIGTERM or SIGINT sets; the present work is finished first."""
    stop = Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class SuperNodeSupervisor(Thread):
    """Keeps a SuperNode running: restarts it when it ends, after pauses that grow while it ends soon again.

    `choose_port` returns the port. `join` uses a new port each time, because another program may use the old one.
    """

    def __init__(
        self, directory: SiteDirectory, choose_port: Callable[[], int], stop: Event, report: Callable[[str], None]
    ) -> None:
        super().__init__(name="supernode")
        self.port, self._choose_port = choose_port(), choose_port
        self._directory, self._stop_event, self._report = directory, stop, report
        self._node: subprocess.Popen[bytes] | None = None

    @property
    def up(self) -> bool:
        return self._node is not None and self._node.poll() is None

    def run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop_event.is_set():
            began = time.monotonic()
            self._node = launch(self._directory, self.port)
            while self._node.poll() is None and not self._stop_event.wait(0.2):
                pass
            if self._stop_event.is_set():
                _end(self._node)
                return
            pause = FIRST_PAUSE if time.monotonic() - began > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
            self._report(f"{exit_reason(self._directory)} Next attempt in {pause:g} s.")
            self._stop_event.wait(pause)
            self.port = self._choose_port()


@dataclass(frozen=True)
class ExternalSuperNode:
    """A SuperNode that another user of this machine runs."""

    port: int

    @property
    def up(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, self.port)) == 0


def _end(node: subprocess.Popen[bytes]) -> None:
    node.terminate()
    try:
        node.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        node.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _has_joined(directory: SiteDirectory) -> bool:
    """Ask for the lock, because a process that was killed leaves its number, which may be another's by now."""
    try:
        with exclusive(_lock(directory)):
            return False
    except RefusedError:
        return True


def _lock(directory: SiteDirectory) -> Path:
    return directory.state / "join.lock"


def _pid(directory: SiteDirectory) -> Path:
    return directory.state / "join.pid"
