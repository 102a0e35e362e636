"""Write model bundles: the model with the calibration of one hospital, chosen on its validation set."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from teledx_fed.config.data import DataSettings
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.examples import Example, Site
from teledx_fed.core.operating_points import OperatingPoints
from teledx_fed.core.reports import Reporter
from teledx_fed.data.image_cache import PREPARATION_VERSION
from teledx_fed.data.preprocessing import steps
from teledx_fed.evaluation.calibration import conformal_threshold, temperature
from teledx_fed.evaluation.test_predictions import Evaluation
from teledx_fed.model.bundle import Calibration, Manifest, Preparation, Scope
from teledx_fed.model.bundle_writing import write_bundle
from teledx_fed.training.worker import SiteModel, Worker

TrainingFacts = Mapping[str, str | int | float | None]
"""Facts about the training, for the model card."""

COVERAGE = 0.9
UNKNOWN_CAMERA = "unknown"


def write_bundles(
    worker: Worker,
    sites: Mapping[str, Site],
    models: Mapping[str, SiteModel],
    evaluation: Evaluation,
    data: DataSettings,
    trained: TrainingFacts,
    folder: Path,
    reporter: Reporter,
) -> None:
    """Write `bundles/SITE` for each site, with the operating points of `federated` in `evaluation`.

    A network without five grades or feature maps has no bundle; `reporter` receives a message.
    """
    try:
        for name, site in sites.items():
            (points,) = evaluation.points["federated"][name]
            write_site_bundle(worker, site, models[name], points, data, trained, folder / "bundles" / name)
    except ConfigurationError as error:
        reporter.message(f"no bundles: {error}")


def write_site_bundle(
    worker: Worker,
    site: Site,
    model: SiteModel,
    points: OperatingPoints,
    data: DataSettings,
    trained: TrainingFacts,
    folder: Path,
) -> None:
    """Write the bundle of one site. A model of synthetic photographs is marked as a demonstration."""
    manifest = Manifest(
        site=site.name,
        release=version("teledx-fed"),
        demonstration=bool(data.hospitals),
        preparation=preparation(data),
        calibration=calibration(worker, site, model, points),
        scope=_scope(site.shard.train),
        trained=trained,
    )
    write_bundle(worker.network_with(model), manifest, folder)


def calibration(worker: Worker, site: Site, model: SiteModel, points: OperatingPoints) -> Calibration:
    """Calibrate on the validation set only. A `ConfigurationError` if the head does not give five grades."""
    examples = site.shard.validation
    raw = worker.predictions(site.images, model, examples)
    if raw.probabilities is None:
        raise ConfigurationError("model.head must be grade to be calibrated, got one output. Train five grades.")
    divisor = temperature(raw.probabilities, raw.grade)
    probabilities = worker.predictions(site.images, model, examples, divisor).probabilities
    assert probabilities is not None
    return Calibration(
        temperature=divisor,
        coverage=COVERAGE,
        possible=conformal_threshold(probabilities, raw.grade, COVERAGE),
        points=points,
        eyes=raw.eyes,
        patients=raw.patients,
    )


def preparation(data: DataSettings) -> Preparation:
    """Describe how photographs are prepared for the network."""
    choices = data.image_size, data.ben_graham, data.clahe
    return Preparation(PREPARATION_VERSION, *choices, steps(*choices))


def _scope(training: tuple[Example, ...]) -> Scope:
    cameras = {example.camera for example in training} - {UNKNOWN_CAMERA}
    return Scope(tuple(sorted(cameras)), min(min(example.image.size()) for example in training))
