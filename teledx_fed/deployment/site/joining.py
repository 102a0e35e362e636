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
from teledx_fed.deployment.common.audit import AuditLog
from teledx_fed.deployment.common.certificates import days_left, expires
from teledx_fed.deployment.common.events import Watcher, disk
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


def join(home: SiteDirectory, say: Callable[[str], None], node: int | None = None) -> None:
    """Take part until a signal. A `ConfigurationError` if site.yaml is wrong, a `RefusedError` if `join` runs already.

    `node` is the port of a SuperNode that another user runs with `connect`.
    """
    assert home.settings.name
    with exclusive(_lock(home)), stopped_by_signal() as stop:
        bound_memory(home)
        write_text(_pid(home), str(os.getpid()))
        tally = Tally()
        try:
            with _supernode(home, stop, say, node) as supernode, _watched(home, supernode, tally):
                handler = MessageHandler(home, AuditLog(home.audit, home.audit_key), tally)
                serve(lambda: supernode.port, home.executor_key, handler, lambda: not stop.is_set())
        finally:
            _pid(home).unlink(missing_ok=True)


def connect(home: SiteDirectory, port: int, say: Callable[[str], None]) -> None:
    """Run the SuperNode until a signal, for a worker of another user; it needs no access to photographs."""
    with exclusive(home.state / "connect.lock"), stopped_by_signal() as stop:
        SuperNodeSupervisor(home, lambda: port, stop, say).run()


def bound_memory(home: SiteDirectory) -> None:
    """Limit this process to `limits.memory` (GB), but not with a GPU, whose driver maps more memory than it uses.

    With a GPU, `limits.gpu_memory` and the systemd unit limit it.
    """
    if home.settings.device == "cpu" or not DRIVER.exists():
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        most = int(home.settings.limits.memory * 1e9)
        resource.setrlimit(resource.RLIMIT_DATA, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


@contextmanager
def _supernode(
    home: SiteDirectory, stop: Event, say: Callable[[str], None], node: int | None
) -> Iterator["SuperNodeSupervisor | ExternalSuperNode"]:
    if node is not None:
        yield ExternalSuperNode(node)
        return
    companion = SuperNodeSupervisor(home, _free_port, stop, say)
    companion.start()
    try:
        yield companion
    finally:
        stop.set()
        companion.join()


@contextmanager
def _watched(home: SiteDirectory, supernode: "SuperNodeSupervisor | ExternalSuperNode", tally: Tally) -> Iterator[None]:
    watch = home.settings.watch
    watcher = Watcher(home.settings.name, home.state / "told.json", watch.webhook)

    def tell() -> None:
        watcher.tell(site_events(supernode.up, tally.failing, days_left(home.authority), disk(home.folder)))

    def metrics() -> bytes:
        return site_metrics(tally, supernode.up, disk(home.folder), expires(home.authority))

    with watched(watch.listen, metrics, lambda: {"supernode": supernode.up}), repeatedly(tell):
        yield


def leave(home: SiteDirectory) -> None:
    """Stop the `join` of this folder. A `ConfigurationError` if none runs."""
    if not _has_joined(home) or not _pid(home).exists():
        raise ConfigurationError(
            f"{home.folder} must be of a hospital that has joined, got one that has not. Nothing to leave."
        )
    os.kill(int(_pid(home).read_text()), signal.SIGTERM)
    while _pid(home).exists():
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

    `a_port` returns the port. `join` uses a new port each time, because another program may use the old one.
    """

    def __init__(self, home: SiteDirectory, a_port: Callable[[], int], stop: Event, say: Callable[[str], None]) -> None:
        super().__init__(name="supernode")
        self.port, self._a_port = a_port(), a_port
        self._home, self._stop_event, self._say = home, stop, say
        self._node: subprocess.Popen[bytes] | None = None

    @property
    def up(self) -> bool:
        return self._node is not None and self._node.poll() is None

    def run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop_event.is_set():
            began = time.monotonic()
            self._node = launch(self._home, self.port)
            while self._node.poll() is None and not self._stop_event.wait(0.2):
                pass
            if self._stop_event.is_set():
                _end(self._node)
                return
            pause = FIRST_PAUSE if time.monotonic() - began > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
            self._say(f"{exit_reason(self._home)} It is tried again in {pause:g} s.")
            self._stop_event.wait(pause)
            self.port = self._a_port()


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


def _has_joined(home: SiteDirectory) -> bool:
    """Ask for the lock, because a process that was killed leaves its number, which may be another's by now."""
    try:
        with exclusive(_lock(home)):
            return False
    except RefusedError:
        return True


def _lock(home: SiteDirectory) -> Path:
    return home.state / "join.lock"


def _pid(home: SiteDirectory) -> Path:
    return home.state / "join.pid"
