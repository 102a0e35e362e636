"""The model as one hospital diagnoses with it: calibrated on its validation set, packed with what goes with it."""

from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from teledx_fed.config.data import DataSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Example, Site
from teledx_fed.core.operating_points import OperatingPoints
from teledx_fed.data.image_cache import PREPARATION_VERSION
from teledx_fed.data.preprocessing import steps
from teledx_fed.evaluation.calibration import conformal_threshold, temperature
from teledx_fed.evaluation.examined import Examination
from teledx_fed.model.bundle import Calibration, Manifest, Preparation, Scope
from teledx_fed.model.bundle_writing import write_bundle
from teledx_fed.training.worker import SiteModel, Worker

Trained = Mapping[str, str | int | float | None]
"""What people are told of the training."""

COVERAGE = 0.9
UNKNOWN_CAMERA = "unknown"


def write_bundles(
    worker: Worker,
    sites: Mapping[str, Site],
    models: Mapping[str, SiteModel],
    tested: Examination,
    settings: Settings,
    best_round: int,
    folder: Path,
    say: Callable[[str], None],
) -> None:
    """`bundles/SITE` for each site; `tested` holds the operating points of `federated`.

    A network that cannot be diagnosed with has no bundle, and that is said.
    """
    trained: Trained = {"network": settings.model.name, "hospitals": len(sites), "best_round": best_round}
    try:
        for name, site in sites.items():
            (points,) = tested.points["federated"][name]
            write_site_bundle(worker, site, models[name], points, settings, trained, folder / "bundles" / name)
    except ValueError as error:
        say(f"no bundles: {error}")


def write_site_bundle(
    worker: Worker,
    site: Site,
    model: SiteModel,
    points: OperatingPoints,
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
        preparation=preparation(data),
        calibration=calibration(worker, site, model, points),
        scope=_scope(site.shard.train),
        trained=trained,
    )
    write_bundle(worker.holding(model), manifest, folder)


def calibration(worker: Worker, site: Site, model: SiteModel, points: OperatingPoints) -> Calibration:
    """By the validation set alone. A `ValueError` where the head does not give five grades."""
    examples = site.shard.validation
    raw = worker.predictions(site.images, model, examples)
    if raw.probabilities is None:
        raise ValueError("model.head must be grade to be calibrated, got one output. Train five grades.")
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
    asked = data.image_size, data.ben_graham, data.clahe
    return Preparation(PREPARATION_VERSION, *asked, steps(*asked))


def _scope(seen: tuple[Example, ...]) -> Scope:
    cameras = {example.camera for example in seen} - {UNKNOWN_CAMERA}
    return Scope(tuple(sorted(cameras)), min(min(example.image.size()) for example in seen))
