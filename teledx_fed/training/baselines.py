"""Baselines of a federation: each hospital alone, their ensemble, and all data in one place, with as many epochs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from safetensors import safe_open
from safetensors.numpy import save

from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site
from teledx_fed.core.files import write_bytes
from teledx_fed.core.reports import Reporter
from teledx_fed.core.weights import Weights
from teledx_fed.data.hospitals import pooled
from teledx_fed.evaluation.metrics import compute_one
from teledx_fed.training.worker import SiteModel, Worker

UNDEFINED = float("-inf")
LOCAL_OF = "local of "


@dataclass(frozen=True)
class Baseline:
    """A model trained at `site`; the validation sets of `judges` select its best round. `file` stores it."""

    name: str
    site: Site
    judges: tuple[Site, ...]
    file: Path


def train_baselines(
    sites: Mapping[str, Site], worker: Worker, settings: Settings, folder: Path, reporter: Reporter
) -> dict[str, dict[str, list[SiteModel]]]:
    """Train the baselines; return the models of each at each site. The absent hospital trains only its local model."""
    models: dict[str, dict[str, list[SiteModel]]] = {}
    present = settings.partition.present(sites)
    if "local" in settings.baselines:
        alone = {
            name: train(
                Baseline("local", site, (site,), folder / f"local-{name}.safetensors"),
                worker,
                settings,
                reporter,
            )
            for name, site in sites.items()
        }
        models["local"] = {name: [model] for name, model in alone.items()}
        if "ensemble" in settings.baselines:
            models["ensemble"] = {name: [alone[member] for member in present] for name in sites}
    if "centralised" in settings.baselines:
        everything = pooled(present, "centralised")
        judges = tuple(present.values())
        baseline = Baseline("centralised", everything, judges, folder / "centralised.safetensors")
        model = train(baseline, worker, settings, reporter)
        models["centralised"] = {name: [model] for name in sites}
    return models


def local_models_everywhere(local: Mapping[str, Sequence[SiteModel]]) -> dict[str, dict[str, list[SiteModel]]]:
    """Return each hospital's local model at every hospital, with the BatchNorm statistics of the latter."""
    return {
        f"{LOCAL_OF}{name}": {site: [SiteModel(model.weights, receiver.kept)] for site, (receiver,) in local.items()}
        for name, (model,) in local.items()
    }


def train(baseline: Baseline, worker: Worker, settings: Settings, reporter: Reporter) -> SiteModel:
    """Train, and return the best round on validation, or the last without a defined score; read a finished model."""
    if baseline.file.exists():
        return _read(baseline.file, worker)
    model = best = worker.initial
    highest = UNDEFINED
    for round in range(1, settings.federation.rounds + 1):
        training = replace(settings.local_training(round), proximal_mu=0.0)  # there is no global model
        model = worker.train(baseline.site, model, training, round).model
        score = _score(baseline, worker, model, settings.federation.choose_by)
        if score > highest or highest == UNDEFINED:
            highest, best = score, model
        reporter.epoch(baseline.name, baseline.site.name, round, settings.federation.rounds)
    _write(baseline.file, best)
    return best


def _score(baseline: Baseline, worker: Worker, model: SiteModel, name: str) -> float:
    """Return the mean over the judges for which the metric is defined; -inf if there are none."""
    scores = [
        compute_one(name, worker.predictions(judge.images, model, judge.shard.validation)) for judge in baseline.judges
    ]
    defined = [score for score in scores if score == score]
    return fmean(defined) if defined else UNDEFINED


def _write(path: Path, model: SiteModel) -> None:
    arrays = {
        "parameters": model.weights.parameters,
        "statistics": model.weights.statistics,
        "kept": model.kept.statistics,
    }
    write_bytes(path, save(arrays))


def _read(path: Path, worker: Worker) -> SiteModel:
    with safe_open(path, framework="numpy") as file:
        parameters, statistics, kept = (file.get_tensor(name) for name in ("parameters", "statistics", "kept"))
    start = worker.initial
    return SiteModel(
        Weights(parameters, statistics, start.weights.layout),
        Weights(start.kept.parameters, kept, start.kept.layout),
    )
