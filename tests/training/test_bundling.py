"""Calibration of a hospital's bundle, only on its own validation set."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reporters import RecordingReporter

from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Shard, Site
from teledx_fed.core.reports import SILENT
from teledx_fed.evaluation.test_predictions import Evaluation
from teledx_fed.model.bundle import Bundle
from teledx_fed.model.network import build
from teledx_fed.training.bundling import calibration, write_bundles
from teledx_fed.training.evaluate import evaluate
from teledx_fed.training.worker import SiteModel, Worker

Sites = Callable[..., Site]
Make = Callable[..., Settings]


@pytest.fixture
def trained(tiny_site: Sites, tiny_settings: Make) -> tuple[Worker, Site, SiteModel, Settings]:
    settings, site = tiny_settings(training__epochs=3), tiny_site("north", patients=20)
    worker = Worker(build(settings.model, settings.seed))
    model = worker.train(site, worker.initial, settings.local_training(1), 1).model
    return worker, site, model, settings


def examined(worker: Worker, site: Site, model: SiteModel, settings: Settings) -> Evaluation:
    return evaluate(worker, {site.name: site}, {"federated": {site.name: [model]}}, settings)


def test_a_bundle_has_the_points_of_the_report(trained, tmp_path: Path) -> None:
    """The points are those that were tested, chosen on validation from scores before the temperature."""
    worker, site, model, settings = trained
    tested = examined(worker, site, model, settings)
    write_bundles(worker, {"north": site}, {"north": model}, tested, settings.data, {"best_round": 1}, tmp_path, SILENT)
    written = Bundle(tmp_path / "bundles" / "north", threads=1).manifest.calibration
    p = worker.predictions(site.images, model, site.shard.validation)
    predicted = worker.predictions(site.images, model, site.shard.test)
    referable, urgent = written.points.referable, written.points.urgent
    assert urgent is not None
    assert (p.referable_score[p.referable] >= referable.threshold).mean() >= 0.9 or referable.bound_by == "specificity"
    assert (urgent.positives, urgent.source) == (p.vision_threatening.sum(), "withheld")
    assert referable.test is not None
    assert referable.test.sensitivity.of == predicted.referable.sum()
    assert referable.test.sensitivity.count == tested.called["federated"]["north"][predicted.referable].sum()
    assert (written.eyes, written.patients) == (p.eyes, p.patients)


def test_points_and_calibration_depend_on_validation_alone(trained) -> None:
    worker, site, model, settings = trained
    alone = replace(site, shard=Shard((), site.shard.validation, site.shard.test[:4]))
    points = [examined(worker, one, model, settings).points["federated"]["north"][0] for one in (site, alone)]
    chosen = [replace(each.referable, test=None) for each in points]
    assert chosen[0] == chosen[1]
    assert calibration(worker, alone, model, points[0]) == calibration(worker, site, model, points[0])


def test_a_bundle_grades_as_the_worker_does(trained, tmp_path: Path) -> None:
    worker, site, model, settings = trained
    tested = examined(worker, site, model, settings)
    write_bundles(worker, {"north": site}, {"north": model}, tested, settings.data, {"best_round": 1}, tmp_path, SILENT)
    bundle = Bundle(tmp_path / "bundles" / "north", threads=1)
    examples = site.shard.validation[::2]
    expected = worker.predictions(site.images, model, examples, bundle.manifest.calibration.temperature)
    logits = bundle(site.images.batch(examples)).logits / bundle.manifest.calibration.temperature
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-4)
    assert bundle.manifest.demonstration
    assert bundle.manifest.scope.shortest_side == 64


def test_a_network_without_grades_has_no_bundle_and_says_so(tiny_site: Sites, tiny_settings: Make, tmp_path) -> None:
    settings, site = tiny_settings(model__head="referable"), tiny_site("north")
    worker, reporter = Worker(build(settings.model, settings.seed)), RecordingReporter()
    tested = examined(worker, site, worker.initial, settings)
    write_bundles(
        worker, {"north": site}, {"north": worker.initial}, tested, settings.data, {"best_round": 1}, tmp_path, reporter
    )
    assert reporter.messages == [
        "no bundles: model.head must be grade to be calibrated, got one output. Train five grades."
    ]
