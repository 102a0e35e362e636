"""Evaluation on the test sets, once, after the last round, for all models. No other module predicts on them."""

from collections.abc import Mapping, Sequence

import numpy as np

from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Example, Site
from teledx_fed.core.operating_points import OperatingPoints
from teledx_fed.evaluation.cross_site import mean_prediction
from teledx_fed.evaluation.operating_points import (
    PooledEvidence,
    add_test_performance,
    call_referable,
    call_urgent,
    choose_operating_points,
    pooled_evidence,
)
from teledx_fed.evaluation.predictions import Booleans, Predictions
from teledx_fed.evaluation.tables import add, table
from teledx_fed.evaluation.test_predictions import Evaluation
from teledx_fed.training.worker import SiteModel, Worker

Ensemble = Sequence[SiteModel]
"""Models whose predictions are averaged; a single model is an ensemble of one."""
SAME_EVERYWHERE = ("ensemble", "centralised")
"""Baselines that are the same model at every site, so that their validation counts can be summed too."""


def evaluate(
    worker: Worker,
    sites: Mapping[str, Site],
    models: Mapping[str, Mapping[str, Ensemble]],
    settings: Settings,
    pooled: Mapping[str, PooledEvidence | None] = {},
) -> Evaluation:
    """Test `models[model][site]` at each site, at operating points chosen on the site's validation set.

    `pooled[model]` are the federation's counts of diseased eyes, for sites that have few.
    """
    predictions: dict[str, dict[str, Predictions]] = {name: {} for name in models}
    called: dict[str, dict[str, Booleans]] = {name: {} for name in models}
    urgent: dict[str, dict[str, Booleans]] = {name: {} for name in models}
    withheld: dict[str, dict[str, Booleans]] = {name: {} for name in models}
    points: dict[str, dict[str, tuple[OperatingPoints, ...]]] = {name: {} for name in models}
    for name, ensembles in models.items():
        validation = {
            site: _predict(worker, sites[site], ensembles[site], sites[site].shard.validation) for site in sites
        }
        summed = name in SAME_EVERYWHERE
        counts = sum_evidence(validation, settings.outbound.min_patients) if summed else pooled.get(name)
        for site_name, site in sites.items():
            chosen = choose_operating_points(validation[site_name], settings.evaluation, counts)
            test = _predict(worker, site, ensembles[site_name], site.shard.test)
            predictions[name][site_name], called[name][site_name] = test, call_referable(chosen, test)
            points[name][site_name] = (add_test_performance(chosen, test),)
            if chosen.urgent is not None and test.vision_threatening_score is not None:
                urgent[name][site_name] = call_urgent(chosen, test.vision_threatening_score)
                withheld[name][site_name] = np.full(test.eyes, chosen.urgent.withheld)
    patients = {
        name: tuple(dict.fromkeys(f"{e.source}/{e.patient}" for e in site.shard.test)) for name, site in sites.items()
    }
    return Evaluation(predictions, called, patients, urgent, withheld, points)


def sum_evidence(validation: Mapping[str, Predictions], min_patients: int) -> PooledEvidence | None:
    """Return the counts of one model's validation scores, summed over the sites as in a federation."""
    none_called = False
    return pooled_evidence(add([table(p, np.full(p.eyes, none_called), min_patients) for p in validation.values()]))


def _predict(worker: Worker, site: Site, ensemble: Ensemble, examples: Sequence[Example]) -> Predictions:
    return mean_prediction([worker.predictions(site.images, member, examples) for member in ensemble])
