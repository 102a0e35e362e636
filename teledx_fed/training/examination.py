"""The one place that reads the test sets: once, after the last round, for every model at once."""

from collections.abc import Mapping, Sequence

from teledx_fed.evaluation.cross_site import ensemble
from teledx_fed.evaluation.examined import Examination
from teledx_fed.evaluation.metrics import operating_point
from teledx_fed.evaluation.predictions import Booleans, Predictions
from teledx_fed.records import Example, Site
from teledx_fed.settings import Settings
from teledx_fed.training.worker import SiteModel, Worker

Committee = Sequence[SiteModel]
"""Models whose mean prediction counts; a single model is a committee of one."""


def examine(
    worker: Worker,
    sites: Mapping[str, Site],
    models: Mapping[str, Mapping[str, Committee]],
    settings: Settings,
) -> Examination:
    """`models[model][site]` is the committee that grades for that site, at a threshold chosen on its validation set."""
    predictions: dict[str, dict[str, Predictions]] = {name: {} for name in models}
    called: dict[str, dict[str, Booleans]] = {name: {} for name in models}
    patients: dict[str, tuple[str, ...]] = {}
    for site_name, site in sites.items():
        tested = site.shard.test
        patients[site_name] = tuple(dict.fromkeys(f"{e.source}/{e.patient}" for e in tested))
        for name, committees in models.items():
            committee = committees[site_name]
            chosen_by = _grade(worker, site, committee, site.shard.validation)
            threshold = operating_point(
                chosen_by.referable, chosen_by.referable_score, settings.evaluation.target_sensitivity
            )
            found = _grade(worker, site, committee, tested)
            predictions[name][site_name] = found
            called[name][site_name] = found.referable_score >= threshold
    return Examination(predictions, called, patients)


def _grade(worker: Worker, site: Site, committee: Committee, examples: Sequence[Example]) -> Predictions:
    return ensemble([worker.predictions(site.images, member, examples) for member in committee])
