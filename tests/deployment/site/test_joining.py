"""`leave` stops no process except `join`, and the supervisor of the SuperNode ends when it is stopped."""

import os
import signal
from pathlib import Path
from threading import Event

import pytest

from teledx_fed.core.errors import ConfigurationError
from teledx_fed.deployment.site.joining import SuperNodeSupervisor, leave
from teledx_fed.deployment.site.settings import SiteDirectory


def test_leave_with_a_stale_process_number_stops_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = SiteDirectory(tmp_path)
    site.state.mkdir()
    (site.state / "join.pid").write_text(str(os.getpid()))
    stopped: list[tuple[int, signal.Signals]] = []
    monkeypatch.setattr(os, "kill", lambda *arguments: stopped.append(arguments))
    with pytest.raises(ConfigurationError, match="There is nothing to stop"):
        leave(site)
    assert stopped == []


def test_the_supervisor_ends_when_stopped(tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    supervisor = SuperNodeSupervisor(SiteDirectory(tmp_path), lambda: 9092, stop, print)
    supervisor.start()
    supervisor.join(timeout=5)
    assert not supervisor.is_alive()
