"""Flower's own commands work with our server, as docs/coordinator.md describes."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.jobs.deployed import ROOT, running

GUIDE = (ROOT / "docs" / "coordinator.md").read_text("utf-8")


@pytest.mark.slow
def test_flwr_reaches_the_server_only_with_the_loopback_authority(tmp_path: Path) -> None:
    flower_home = tmp_path / "flower"
    flwr = str(Path(sys.executable).with_name("flwr"))
    environment = os.environ | {"FLWR_HOME": str(flower_home), "FLWR_TELEMETRY_ENABLED": "0", "NO_PROXY": "127.0.0.1"}
    toml = re.search(r"```toml\n(.*?)```", GUIDE, re.DOTALL)
    assert toml is not None

    def run_flwr(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([flwr, *arguments], env=environment, capture_output=True, text=True, timeout=100)

    with running(tmp_path / "federation") as federation:
        port = re.search(r"control_port: (\d+)", (federation.server / "server.yaml").read_text())
        assert port is not None
        settings = toml[1].replace("9093", port[1]).replace("/srv/teledx/server", str(federation.server))
        flower_home.mkdir()
        (flower_home / "config.toml").write_text(settings)
        for arguments in (("list", "coordinator"), ("supernode", "list", "coordinator")):
            assert run_flwr(*arguments).returncode == 0, arguments
            assert f"`flwr {' '.join(arguments)}`" in GUIDE
        (flower_home / "config.toml").write_text(settings.replace("loopback/", ""))
        assert run_flwr("list", "coordinator").returncode != 0
