from collections.abc import Callable

import numpy as np
import pytest

from teledx_fed.evaluation.predictions import Predictions

Simulate = Callable[..., Predictions]


@pytest.fixture(scope="session")
def simulate() -> Simulate:
    """Predictions for patients with correlated eyes by a model of given `skill`."""

    def simulate(seed: int, patients: int = 60, eyes: int = 2, skill: float = 1.5, labels: int = 0) -> Predictions:
        disease = np.random.default_rng([labels, patients, eyes])
        severity = np.repeat(disease.normal(size=patients), eyes) + 0.5 * disease.normal(size=patients * eyes)
        grade = np.digitize(severity, [0.0, 0.3, 0.9, 1.3])
        signal = skill * severity + np.random.default_rng(seed).normal(size=grade.size)
        centres = skill * np.array([-0.8, 0.15, 0.6, 1.1, 1.7])
        likelihood = np.exp(-((signal[:, None] - centres) ** 2))
        probabilities = likelihood / likelihood.sum(axis=1, keepdims=True)
        return Predictions(
            grade=grade.astype(np.int64),
            referable=grade >= 2,
            vision_threatening=grade >= 3,
            probabilities=probabilities,
            referable_score=probabilities[:, 2:].sum(axis=1),
            vision_threatening_score=probabilities[:, 3:].sum(axis=1),
            patient=np.repeat(np.arange(patients), eyes),
        )

    return simulate
