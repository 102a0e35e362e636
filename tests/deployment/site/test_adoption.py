"""Adopt a federation's model: thresholds from the hospital's eyes, and from the federation's pooled counts."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from reporters import RecordingReporter
from rig import Rig

from teledx_fed.config.loading import save
from teledx_fed.config.settings import Settings
from teledx_fed.core.operating_points import Source
from teledx_fed.core.score_tables import BINS
from teledx_fed.core.weights import Layout, Weights
from teledx_fed.deployment.site.adoption import adopt
from teledx_fed.federation.checkpoint import Scored
from teledx_fed.federation.release import POOLED, digest, read_pooled, write_pooled
from teledx_fed.model.bundle import Bundle
from teledx_fed.model.network import save as save_network


@pytest.fixture
def rig(tmp_path: Path, tiny_settings: Callable[..., Settings]) -> Rig:
    return Rig(tmp_path, tiny_settings(data__hospitals={}, data__sources={}, outbound__min_patients=2))


@pytest.fixture
def model(rig: Rig, tmp_path: Path) -> Path:
    """The coordinator's model file and config.yaml, without pooled counts."""
    path = tmp_path / "release" / "model.safetensors"
    save_network(rig.worker.network, path)
    save(rig.settings, path.with_name("config.yaml"))
    return path


def counts(file: Path, **changed: object) -> None:
    values = {"model": digest(file), "round": 1, "eyes": 500, "referable": [5] * BINS, "urgent": [1] * BINS}
    file.with_name(POOLED).write_text(json.dumps({**values, **changed}))


def test_without_pooled_counts_urgent_is_withheld_and_reported(rig: Rig, model: Path) -> None:
    reporter = RecordingReporter()
    adopt(rig.directory, model, reporter)
    urgent = Bundle(rig.directory.champion, threads=1).manifest.calibration.points.urgent
    assert urgent is not None
    assert urgent.source is Source.WITHHELD
    assert any(line.startswith(f"{POOLED} is not beside the model") for line in reporter.messages)
    assert any(line.startswith("Urgent: withheld") and "20 are needed" in line for line in reporter.messages)
    assert urgent.test is not None


@pytest.mark.slow
def test_with_pooled_counts_thresholds_use_the_federations_eyes(rig: Rig, model: Path) -> None:
    counts(model)
    pooled = read_pooled(model)
    assert pooled is not None
    assert pooled.urgent is not None
    assert pooled.urgent.sum() == BINS
    reporter = RecordingReporter()
    adopt(rig.directory, model, reporter)
    points = Bundle(rig.directory.champion, threads=1).manifest.calibration.points
    assert points.urgent is not None
    assert points.urgent.pooled_positives == BINS
    assert POOLED not in " ".join(reporter.messages)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "0" * 64}, "be of model.safetensors"),
        ({"referable": [1, 2]}, "must hold 64 counts"),
        ({"urgent": [-1] * BINS}, "must hold 64 counts"),
        ({"urgent": [0.5] * BINS}, "must hold 64 counts"),
        ({"referable": "many"}, "must hold 64 counts"),
    ],
)
def test_pooled_counts_of_another_model_or_form_are_refused(model_file: Path, changed: object, message: str) -> None:
    counts(model_file, **changed)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=message):
        read_pooled(model_file)


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    return tmp_path / "model.safetensors"


def test_pooled_counts_of_an_earlier_release_are_deleted(model_file: Path) -> None:
    counts(model_file)
    nothing = np.zeros(0, dtype=np.float32)
    write_pooled(Scored(0, Weights(nothing, nothing, Layout((), ())), {}), model_file)
    assert read_pooled(model_file) is None
