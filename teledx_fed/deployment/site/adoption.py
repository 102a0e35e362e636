"""Adopt a federation's model as the champion of a hospital, calibrated on the hospital's own validation set."""

import shutil
from dataclasses import replace
from pathlib import Path

from teledx_fed.config.loading import load
from teledx_fed.core.checks import must
from teledx_fed.core.files import exclusive
from teledx_fed.core.operating_points import lines
from teledx_fed.core.reports import Reporter
from teledx_fed.data.hospitals import hospitals
from teledx_fed.deployment.site import lineage
from teledx_fed.deployment.site.hospital import own_settings
from teledx_fed.deployment.site.settings import SiteDirectory
from teledx_fed.federation.release import POOLED, read_pooled
from teledx_fed.model.network import build
from teledx_fed.training.bundling import TrainingFacts, write_site_bundle
from teledx_fed.training.compute import place
from teledx_fed.training.evaluate import evaluate
from teledx_fed.training.worker import Worker

CONFIG = "config.yaml"


def adopt(directory: SiteDirectory, model: Path, reporter: Reporter) -> None:
    """Make `model` the champion: a run's model.safetensors, with its config.yaml beside it, from the coordinator.

    Thresholds are chosen on the hospital's validation set, and with pooled.json if that has too few diseased eyes.
    They are reported with their test results. The old champion is kept as `champion-before`.
    """
    with exclusive(directory.state / "adopt.lock"):
        _adopt(directory, model, reporter)


def _adopt(directory: SiteDirectory, model: Path, reporter: Reporter) -> None:
    config = model.with_name(CONFIG)
    must(model.is_file() and config.is_file(), "model", f"lie beside the run's {CONFIG}", str(model), "Ask for both.")
    run_settings = load(config)
    start = replace(run_settings.model, initial="file", file=str(model))
    settings = own_settings(replace(run_settings, model=start), directory)
    worker = Worker(place(build(settings.model, settings.seed), settings, reporter))
    key, withdrawn = directory.split_key.read_bytes(), lineage.excluded(directory)
    site = hospitals(settings, directory.state, reporter, key, withdrawn)[directory.settings.name]
    pooled = read_pooled(model)
    if pooled is None:
        reporter.message(
            f"{POOLED} is not beside the model: thresholds use this hospital's eyes only. Ask for the file."
        )
    models = {site.name: [worker.initial]}
    tested = evaluate(worker, {site.name: site}, {"federated": models}, settings, {"federated": pooled})
    (points,) = tested.points["federated"][site.name]
    for line in lines(points):
        reporter.message(line)
    new = directory.champion.with_name("champion-coming")
    shutil.rmtree(new, ignore_errors=True)
    rounds, seed = run_settings.federation.rounds, run_settings.seed
    trained: TrainingFacts = {"network": settings.model.name, "rounds": rounds, "seed": seed}
    write_site_bundle(worker, site, worker.initial, points, settings.data, trained, new)
    _replace(directory.champion, new)
    directory.audit_log.append("adopted", model=model.name)


def _replace(champion: Path, new: Path) -> None:
    before = champion.with_name("champion-before")
    if champion.exists():
        shutil.rmtree(before, ignore_errors=True)
        champion.rename(before)
    new.rename(champion)
