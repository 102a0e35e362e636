"""Leaving: the process of `join` is stopped, and no other."""

import os
import signal
from pathlib import Path

import pytest

from teledx_fed.core.errors import ConfigurationError
from teledx_fed.deployment.site.joining import leave
from teledx_fed.deployment.site.settings import SiteDirectory


def test_the_number_of_a_process_that_was_killed_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = SiteDirectory(tmp_path)
    site.state.mkdir()
    (site.state / "join.pid").write_text(str(os.getpid()))
    stopped: list[tuple[int, signal.Signals]] = []
    monkeypatch.setattr(os, "kill", lambda *about: stopped.append(about))
    with pytest.raises(ConfigurationError, match="Nothing to leave"):
        leave(site)
    assert stopped == []
