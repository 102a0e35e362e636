"""The model as one hospital diagnoses with it: calibrated on its validation set, packed with what goes with it."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from teledx_fed.data.image_cache import PREPARATION_VERSION
from teledx_fed.evaluation.calibration import conformal_threshold, temperature
from teledx_fed.evaluation.metrics import operating_point
from teledx_fed.model.bundle import Calibration, Manifest, Preparation, Scope
from teledx_fed.model.bundle_writing import write_bundle
from teledx_fed.records import Example, Site
from teledx_fed.settings import Settings
from teledx_fed.training.worker import SiteModel, Worker

Trained = Mapping[str, str | int | float | None]
"""What people are told of the training."""

COVERAGE = 0.9
UNKNOWN_CAMERA = "unknown"


def write_bundles(
    worker: Worker,
    sites: Mapping[str, Site],
    models: Mapping[str, SiteModel],
    settings: Settings,
    best_round: int,
    folder: Path,
    say: Callable[[str], None],
) -> None:
    """One for each site, in a folder of its name; a network that cannot be diagnosed with is said to be none."""
    trained: Trained = {"network": settings.model.name, "hospitals": len(sites), "best_round": best_round}
    try:
        for name, site in sites.items():
            write_site_bundle(worker, site, models[name], settings, trained, folder / name)
    except ValueError as error:
        say(f"no bundles: {error}")


def write_site_bundle(
    worker: Worker,
    site: Site,
    model: SiteModel,
    settings: Settings,
    trained: Trained,
    folder: Path,
) -> None:
    """Of drawn eyes it is a demonstration, and says so ever after."""
    data = settings.data
    manifest = Manifest(
        site=site.name,
        release=version("teledx-fed"),
        demonstration=bool(data.hospitals),
        preparation=Preparation(PREPARATION_VERSION, data.image_size, data.ben_graham, data.clahe),
        calibration=calibration(worker, site, model, settings.evaluation.target_sensitivity),
        scope=_scope(site.shard.train),
        trained=trained,
    )
    write_bundle(worker.holding(model), manifest, folder)


def calibration(worker: Worker, site: Site, model: SiteModel, sensitivity: float) -> Calibration:
    """By the validation set alone. A `ValueError` where the head does not give five grades."""
    examples = site.shard.validation
    raw = worker.predictions(site.images, model, examples)
    if raw.probabilities is None:
        raise ValueError("model.head must be grade to be calibrated, got one output. Train five grades.")
    divisor = temperature(raw.probabilities, raw.grade)
    found = worker.predictions(site.images, model, examples, divisor)
    assert found.probabilities is not None
    assert found.vision_threatening_score is not None
    return Calibration(
        temperature=divisor,
        coverage=COVERAGE,
        possible=conformal_threshold(found.probabilities, found.grade, COVERAGE),
        sensitivity=sensitivity,
        refers=operating_point(found.referable, found.referable_score, sensitivity),
        urgent=operating_point(found.vision_threatening, found.vision_threatening_score, sensitivity),
        eyes=found.eyes,
        patients=found.patients,
    )


def _scope(seen: tuple[Example, ...]) -> Scope:
    cameras = {example.camera for example in seen} - {UNKNOWN_CAMERA}
    return Scope(tuple(sorted(cameras)), min(min(example.image.size()) for example in seen))
