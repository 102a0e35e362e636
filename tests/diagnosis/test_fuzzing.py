"""A sample of the ten thousand malformed inputs in docs/results/reliability.md."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_whatever_is_sent_is_taken_or_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.fuzzing", "40", str(tmp_path / "kept")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "280 inputs" in done.stdout
