import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from mapie.classification import SplitConformalClassifier
from scipy.special import expit, logit, softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from torchmetrics.functional.classification import binary_calibration_error

from teledx_fed.evaluation.calibration import (
    conformal_set,
    conformal_threshold,
    expected_calibration_error,
    recalibration,
    reliability,
    temperature,
    tempered,
)


def drawn(seed: int, rows: int, replicates: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    x = generator.normal(-0.5, 2, rows)
    truth = generator.random(rows) < expit(0.5 + 0.7 * x)
    return truth, expit(x), generator.multinomial(rows, np.full(rows, 1 / rows), replicates).astype(np.float64)


@pytest.mark.parametrize("rows", [40, 300])
def test_parity_with_a_logistic_regression_in_every_replicate(rows: int) -> None:
    truth, scores, multiplicity = drawn(rows, rows, 20)
    intercepts, slopes = recalibration(truth, scores, multiplicity)
    for intercept, slope, weight in zip(intercepts, slopes, multiplicity, strict=True):
        reference = LogisticRegression(C=np.inf, tol=1e-10, solver="newton-cholesky")
        reference.fit(logit(scores)[:, None], truth, sample_weight=weight)
        assert slope == pytest.approx(reference.coef_[0, 0], abs=1e-5)
        assert intercept == pytest.approx(reference.intercept_[0], abs=1e-5)


@given(
    rows=st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 1e-5, 0.2, 0.5, 0.7, 1.0])), min_size=4, max_size=30)
)
def test_the_solution_maximises_the_likelihood_where_the_classes_overlap(rows: list[tuple[bool, float]]) -> None:
    truth, scores = np.array([t for t, _ in rows]), np.array([s for _, s in rows])
    yes, no = scores[truth], scores[~truth]
    assume(yes.size and no.size and yes.min() < no.max() and yes.max() > no.min())
    intercept, slope = recalibration(truth, scores, np.ones((1, truth.size)))
    x = logit(np.clip(scores, 1e-6, 1 - 1e-6))
    residual = truth - expit(intercept + slope * x)
    assert abs(residual.sum()) < 1e-6
    assert abs((residual * x).sum()) < 1e-5


@pytest.mark.parametrize("scores", [[0.1, 0.2, 0.3, 0.4], [0.9, 0.8, 0.3, 0.4], [0.1, 0.3, 0.3, 0.4], [0.5] * 4])
def test_classes_without_overlap_have_no_slope(scores: list[float]) -> None:
    line = recalibration(np.array([False, False, True, True]), np.array(scores), np.ones((1, 4)))
    assert np.isnan(line).all()


def test_calibrated_scores_have_slope_one() -> None:
    generator = np.random.default_rng(0)
    scores = generator.random(20_000)
    truth = generator.random(20_000) < scores
    intercept, slope = recalibration(truth, scores, np.ones((1, 20_000)))
    assert slope[0] == pytest.approx(1, abs=0.05)
    assert intercept[0] == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize("seed", range(3))
def test_parity_of_the_calibration_error_with_torchmetrics(seed: int) -> None:
    truth, scores, multiplicity = drawn(seed, 150, 5)
    errors = expected_calibration_error(reliability(truth, scores, multiplicity))
    for value, weight in zip(errors, multiplicity.astype(int), strict=True):
        repeated = torch.from_numpy(np.repeat(scores, weight)), torch.from_numpy(np.repeat(truth, weight).astype(int))
        assert value == pytest.approx(binary_calibration_error(*repeated, n_bins=15, norm="l1").item(), abs=1e-5)


def graded(seed: int, rows: int, sharpness: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Sample grades from a model's probabilities; then change their sharpness."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.5, (rows, 5))
    cumulated = softmax(logits, axis=1).cumsum(axis=1)
    grade = (generator.random(rows)[:, None] > cumulated).sum(axis=1)
    return softmax(sharpness * logits, axis=1), np.minimum(grade, 4)


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_recovers_the_scale_of_overconfident_logits(sharpness: float) -> None:
    probabilities, grade = graded(0, 4000, sharpness)
    assert temperature(probabilities, grade) == pytest.approx(sharpness, rel=0.08)


@given(st.integers(0, 99), st.floats(0.1, 10))
def test_temperature_never_changes_the_likeliest_grade(seed: int, divisor: float) -> None:
    probabilities, _ = graded(seed, 20)
    changed = tempered(probabilities, divisor)
    np.testing.assert_allclose(changed.sum(axis=1), 1)
    np.testing.assert_array_equal(changed.argmax(axis=1), probabilities.argmax(axis=1))


class Fixed(ClassifierMixin, BaseEstimator):
    """A trained classifier for mapie: its inputs are the probabilities."""

    classes_ = np.arange(5)
    is_fitted_ = True

    def fit(self, x: np.ndarray, y: np.ndarray) -> "Fixed":
        return self

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        return x

    def predict(self, x: np.ndarray) -> np.ndarray:
        return x.argmax(axis=1)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9])
def test_parity_of_conformal_sets_with_mapie(coverage: float) -> None:
    calibration, grade = graded(1, 200)
    new, _ = graded(2, 300)
    reference = SplitConformalClassifier(Fixed(), coverage, "lac").conformalize(calibration, grade)
    _, expected = reference.predict_set(new)
    likeliest = np.eye(5, dtype=bool)[new.argmax(axis=1)]
    sets = conformal_set(new, conformal_threshold(calibration, grade, coverage))
    np.testing.assert_array_equal(sets, expected[:, :, 0] | likeliest)


def test_conformal_sets_contain_the_true_grade_at_the_stated_rate() -> None:
    covered = []
    for seed in range(200):
        threshold = conformal_threshold(*graded(seed, 100), 0.9)
        probabilities, grade = graded(10_000 + seed, 50)
        covered.append(conformal_set(probabilities, threshold)[np.arange(50), grade].mean())
    assert 0.895 <= np.mean(covered) <= 0.93


def test_with_too_few_eyes_each_grade_is_possible() -> None:
    probabilities, grade = graded(3, 8)
    assert conformal_set(probabilities, conformal_threshold(probabilities, grade, 0.9)).all()
