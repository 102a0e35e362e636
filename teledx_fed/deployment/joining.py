"""A hospital at work: the worker in this process, Flower's SuperNode beside it, kept up until it is told to stop."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from types import FrameType

from teledx_fed.deployment.audit import AuditLog
from teledx_fed.deployment.hospital import Gate
from teledx_fed.deployment.site_settings import SiteHome
from teledx_fed.deployment.supernode import LOOPBACK, launch
from teledx_fed.deployment.worker import serve
from teledx_fed.files import exclusive, write_text

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
GRACE_SECONDS = 10.0


def join(home: SiteHome, say: Callable[[str], None]) -> None:
    """Until a signal ends it. A `ValueError` where site.yaml is wrong, or the hospital has joined already."""
    assert home.settings.name
    with exclusive(home.state / "join.lock"), stopped_by_signal() as stop:
        write_text(_pid(home), str(os.getpid()))
        port = _free_port()
        keeper = Thread(target=_keep_up, args=(home, port, stop, say), name="supernode")
        keeper.start()
        try:
            serve(port, home.executor_key, Gate(home, AuditLog(home.audit)), lambda: not stop.is_set())
        finally:
            stop.set()
            keeper.join()
            _pid(home).unlink(missing_ok=True)


def leave(home: SiteHome) -> None:
    """End `join`, wherever it runs on this machine. A `ValueError` where it does not."""
    if not _pid(home).exists():
        raise ValueError(
            f"{home.folder} must be of a hospital that has joined, got one that has not. Nothing to leave."
        )
    process = int(_pid(home).read_text())
    os.kill(process, signal.SIGTERM)
    while _pid(home).exists():
        time.sleep(0.1)


@contextmanager
def stopped_by_signal() -> Iterator[Event]:
    """Set by SIGTERM or SIGINT; what is under way is finished first."""
    stop = Event()

    def end(number: int, frame: FrameType | None) -> None:
        stop.set()

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _keep_up(home: SiteHome, port: int, stop: Event, say: Callable[[str], None]) -> None:
    """A SuperNode that ends is started again, each time after a longer pause while it does not last."""
    pause = FIRST_PAUSE
    while not stop.is_set():
        began = time.monotonic()
        node = launch(home, port)
        while node.poll() is None and not stop.wait(0.2):
            pass
        if stop.is_set():
            _end(node)
            return
        pause = FIRST_PAUSE if time.monotonic() - began > LONGEST_PAUSE else min(2 * pause, LONGEST_PAUSE)
        say(f"the connection ended ({node.returncode}), see {home.node_log}; it is tried again in {pause:g} s")
        stop.wait(pause)


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


def _pid(home: SiteHome) -> Path:
    return home.state / "join.pid"
