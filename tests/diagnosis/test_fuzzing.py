"""A sample of the ten thousand malformed inputs in docs/results/reliability.md."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.fuzzing.trial import Fate, Trial
from teledx_fed.core.errors import DataError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("error", "fate"), [(DataError, Fate.REFUSED), (ValueError, Fate.CRASHED)])
def test_only_an_error_of_the_tree_counts_as_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception], fate: Fate
) -> None:
    def fail(*_: object) -> None:
        raise error("the photograph must be whole")

    trial = Trial.__new__(Trial)
    trial.trial_clinic = SimpleNamespace(folder=tmp_path)  # type: ignore[assignment]
    monkeypatch.setattr("benchmarks.fuzzing.trial.PATHS", (fail,))
    assert trial._send(b"", np.random.default_rng(0))[0] is fate


@pytest.mark.slow
def test_every_malformed_input_is_accepted_or_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.fuzzing", "40", str(tmp_path / "kept")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "280 inputs" in done.stdout
