"""The linear probe compared with scikit-learn: the penalised likelihood has a single optimum."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reporters import RecordingReporter
from sklearn.linear_model import LogisticRegression

from teledx_fed.config.data import DataSettings, HospitalSettings
from teledx_fed.config.learning import ModelSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site
from teledx_fed.data.image_cache import ImageCache
from teledx_fed.data.synthetic import hospital
from teledx_fed.model.network import build
from teledx_fed.training.embeddings import MEASURES, embeddings, features
from teledx_fed.training.worker import Worker

FROZEN = ModelSettings(name="test_efficientnet", initial="none", freeze="backbone")


@pytest.mark.slow
def test_a_linear_probe_is_the_logistic_regression_of_scikit_learn(
    tiny_site: Callable[..., Site], tiny_settings: Callable[..., Settings]
) -> None:
    site, penalty = tiny_site("north", 20), 1e-3
    worker = Worker(build(FROZEN, seed=0))
    learned = {"optimizer": "adam", "learning_rate": 0.1, "class_balance": "none", "weight_decay": penalty}
    training = replace(tiny_settings().local_training(1), **learned, epochs=600, batch_size=4096)
    model = worker.train(site, worker.initial, training, round=1).model
    training = replace(training, learning_rate=0.01)
    model = worker.train(site, model, training, round=2).model
    ours = worker.predictions(site.images, model, site.shard.test)

    train = features(worker.network, site.images, site.shard.train)
    test = features(worker.network, site.images, site.shard.test)
    probe = LogisticRegression(C=1 / (len(train) * penalty), max_iter=10_000, tol=1e-8)
    probe.fit(train, [example.grade for example in site.shard.train])
    reference = probe.predict_proba(test)
    assert ours.probabilities is not None
    np.testing.assert_allclose(ours.probabilities, reference, atol=0.01)


def test_the_table_of_a_hospital_has_a_row_for_every_photograph(tmp_path: Path) -> None:
    examples = hospital("north", HospitalSettings(3, "canon"), seed=0).examples
    settings = DataSettings(image_size=64, cache=str(tmp_path))
    reporter = RecordingReporter()
    network = build(FROZEN, seed=0)
    table = embeddings(network, ImageCache(tmp_path, settings), examples, 2, reporter)
    table.write(tmp_path / "out")
    rows = list(csv.DictReader((tmp_path / "out" / "photographs.csv").read_text().splitlines()))
    stored = np.load(tmp_path / "out" / "embeddings.npy")
    assert [row["photograph"] for row in rows] == [example.image.name for example in examples]
    assert [int(row["grade"]) for row in rows] == [example.grade for example in examples]
    assert all(0 < float(row[name]) < 10 for row in rows for name in MEASURES if name != "clipped")
    assert stored.shape == (len(examples), network.backbone.num_features)
    assert reporter.counts[-1] == (len(examples), len(examples))
    reversed_ = features(network, ImageCache(tmp_path, settings), examples[::-1])
    assert reversed_.tobytes() == stored[::-1].tobytes()
