"""A hospital's bundle is calibrated on its own validation set, and on nothing else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from teledx_fed.model.bundle import Bundle
from teledx_fed.model.network import build
from teledx_fed.records import Shard, Site
from teledx_fed.settings import Settings
from teledx_fed.training.bundling import calibration, write_bundles
from teledx_fed.training.worker import SiteModel, Worker

Sites = Callable[..., Site]
Make = Callable[..., Settings]


@pytest.fixture
def trained(tiny_site: Sites, tiny_settings: Make) -> tuple[Worker, Site, SiteModel, Settings]:
    settings, site = tiny_settings(training__epochs=3), tiny_site("north", patients=20)
    worker = Worker(build(settings.model, settings.seed))
    model = worker.train(site, worker.initial, settings.local_training(1), 1).model
    return worker, site, model, settings


def test_thresholds_reach_the_sensitivity_on_validation(trained) -> None:
    worker, site, model, _ = trained
    found = calibration(worker, site, model, sensitivity=0.8)
    p = worker.predictions(site.images, model, site.shard.validation, found.temperature)
    assert (p.referable_score[p.referable] >= found.refers).mean() >= 0.8
    assert (p.vision_threatening_score[p.vision_threatening] >= found.urgent).mean() >= 0.8
    assert (found.eyes, found.patients) == (p.eyes, p.patients)


def test_it_depends_on_no_other_split(trained) -> None:
    worker, site, model, _ = trained
    alone = replace(site, shard=Shard((), site.shard.validation, ()))
    assert calibration(worker, alone, model, 0.9) == calibration(worker, site, model, 0.9)


def test_a_bundle_grades_as_the_worker_does(trained, tmp_path: Path) -> None:
    worker, site, model, settings = trained
    write_bundles(worker, {"north": site}, {"north": model}, settings, 1, tmp_path, print)
    bundle = Bundle(tmp_path / "north", threads=1)
    examples = site.shard.validation[::2]
    expected = worker.predictions(site.images, model, examples, bundle.manifest.calibration.temperature)
    logits = bundle(site.images.batch(examples)).logits / bundle.manifest.calibration.temperature
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(probabilities, expected.probabilities, atol=1e-4)
    assert bundle.manifest.demonstration
    assert bundle.manifest.scope.shortest_side == 64


def test_a_network_without_grades_has_no_bundle_and_says_so(tiny_site: Sites, tiny_settings: Make, tmp_path) -> None:
    settings, site = tiny_settings(model__head="seed"), tiny_site("north")
    worker, said = Worker(build(settings.model, settings.seed)), []
    write_bundles(worker, {"north": site}, {"north": worker.initial}, settings, 1, tmp_path, said.append)
    assert said == ["no bundles: model.head must be grade to be calibrated, got one output. Train five grades."]
