from collections.abc import Callable, Sequence

import numpy as np

from teledx_fed.evaluation.cross_site import ModelComparison, compare
from teledx_fed.evaluation.predictions import Predictions
from teledx_fed.evaluation.test_predictions import Evaluation

Simulate = Callable[..., Predictions]


def evaluation(models: dict[str, dict[str, Predictions]], first_patient: int = 0) -> Evaluation:
    called = {model: {s: p.referable_score >= 0.5 for s, p in sites.items()} for model, sites in models.items()}
    sites = next(iter(models.values()))
    names = {site: tuple(f"patient {first_patient + i}" for i in range(p.patients)) for site, p in sites.items()}
    return Evaluation(models, called, names)


def compared(repeats: Sequence[Evaluation], replicates: int = 400, seed: int = 0) -> ModelComparison:
    return compare(repeats, replicates, np.random.default_rng(seed))
