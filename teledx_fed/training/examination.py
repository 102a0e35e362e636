"""The one place that reads the test sets: once, after the last round, for every model at once."""

from collections.abc import Mapping, Sequence

import numpy as np

from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Example, Site
from teledx_fed.core.operating_points import OperatingPoints
from teledx_fed.evaluation.cross_site import ensemble
from teledx_fed.evaluation.examined import Examination
from teledx_fed.evaluation.operating import Evidence, called, evidence, operating_points, tested, urgent
from teledx_fed.evaluation.predictions import Booleans, Predictions
from teledx_fed.evaluation.tables import add, table
from teledx_fed.training.worker import SiteModel, Worker

Committee = Sequence[SiteModel]
"""Models whose mean prediction counts; a single model is a committee of one."""
SHARED = ("ensemble", "centralised")
"""Baselines that are one model at every site, so that their validation counts can be summed too."""


def examine(
    worker: Worker,
    sites: Mapping[str, Site],
    models: Mapping[str, Mapping[str, Committee]],
    settings: Settings,
    pooled: Mapping[str, Evidence | None] = {},
) -> Examination:
    """`models[model][site]` is the committee that grades for that site, at thresholds chosen on its validation set.

    `pooled[model]` is what a federation counted of its diseased eyes, for sites that have few.
    """
    predictions: dict[str, dict[str, Predictions]] = {name: {} for name in models}
    refers: dict[str, dict[str, Booleans]] = {name: {} for name in models}
    at_once: dict[str, dict[str, Booleans]] = {name: {} for name in models}
    withheld: dict[str, dict[str, Booleans]] = {name: {} for name in models}
    points: dict[str, dict[str, tuple[OperatingPoints, ...]]] = {name: {} for name in models}
    for name, committees in models.items():
        chosen_by = {
            site: _grade(worker, sites[site], committees[site], sites[site].shard.validation) for site in sites
        }
        counts = evidence_of(chosen_by, settings) if name in SHARED else pooled.get(name)
        for site_name, site in sites.items():
            chosen = operating_points(chosen_by[site_name], settings.evaluation, counts)
            found = _grade(worker, site, committees[site_name], site.shard.test)
            predictions[name][site_name], refers[name][site_name] = found, called(chosen, found)
            points[name][site_name] = (tested(chosen, found),)
            if chosen.urgent is not None and found.vision_threatening_score is not None:
                at_once[name][site_name] = urgent(chosen, found.vision_threatening_score)
                withheld[name][site_name] = np.full(found.eyes, chosen.urgent.withheld)
    patients = {
        name: tuple(dict.fromkeys(f"{e.source}/{e.patient}" for e in site.shard.test)) for name, site in sites.items()
    }
    return Examination(predictions, refers, patients, at_once, withheld, points)


def evidence_of(validation: Mapping[str, Predictions], settings: Settings) -> Evidence | None:
    """As hospitals would send it: the counts of one model, by site, summed."""
    fewest, nobody = settings.outbound.min_patients, False
    return evidence(add([table(p, np.full(p.eyes, nobody), fewest) for p in validation.values()]))


def _grade(worker: Worker, site: Site, committee: Committee, examples: Sequence[Example]) -> Predictions:
    return ensemble([worker.predictions(site.images, member, examples) for member in committee])
