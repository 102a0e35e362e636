"""The one place that reads the test sets: once, after the last round, for every model at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from teledx_fed.evaluation.cross_site import ensemble
from teledx_fed.evaluation.metrics import operating_point
from teledx_fed.evaluation.predictions import Predictions
from teledx_fed.records import Example, Site
from teledx_fed.settings import Settings
from teledx_fed.training.worker import SiteModel, Worker

Committee = Sequence[SiteModel]
"""Models whose mean prediction counts; a single model is a committee of one."""


@dataclass(frozen=True)
class Examination:
    """By model and site: predictions on the test set, and the threshold chosen on that site's validation set."""

    predictions: dict[str, dict[str, Predictions]]
    thresholds: dict[str, dict[str, float]]


def examine(
    worker: Worker,
    sites: Mapping[str, Site],
    models: Mapping[str, Mapping[str, Committee]],
    settings: Settings,
) -> Examination:
    """`models[model][site]` is the committee that grades for that site."""
    examination = Examination({name: {} for name in models}, {name: {} for name in models})
    for name, committees in models.items():
        for site_name, site in sites.items():
            committee = committees[site_name]
            validation = _grade(worker, site, committee, site.shard.validation)
            sensitivity = settings.evaluation.target_sensitivity
            examination.thresholds[name][site_name] = operating_point(
                validation.referable, validation.referable_score, sensitivity
            )
            examination.predictions[name][site_name] = _grade(worker, site, committee, site.shard.test)
    return examination


def _grade(worker: Worker, site: Site, committee: Committee, examples: Sequence[Example]) -> Predictions:
    return ensemble([worker.predictions(site.images, member, examples) for member in committee])
