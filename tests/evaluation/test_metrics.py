from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn
from torchmetrics.functional import classification as torchmetrics

from teledx_fed.evaluation.intervals import multiplicities
from teledx_fed.evaluation.metrics import METRICS, compute, compute_one
from teledx_fed.evaluation.predictions import Predictions

SEEDS = range(3)


@pytest.fixture(params=SEEDS)
def sample(request, simulate) -> Predictions:
    predictions = simulate(request.param, patients=40 + 30 * request.param)
    return replace(predictions, referable_score=predictions.referable_score.round(2))  # ties


def replicates_of(predictions: Predictions) -> np.ndarray:
    drawn = multiplicities(predictions.patient, 8, np.random.default_rng(1))
    return np.concatenate([np.ones((1, predictions.eyes)), drawn])


def test_parity_with_scikit_learn(sample: Predictions) -> None:
    p, called, grade = sample, sample.referable_score >= 0.4, sample.probabilities.argmax(axis=1)
    drawn = replicates_of(p)
    values = compute(p, called, drawn)
    for row, weight in enumerate(drawn):
        rows = np.repeat(np.arange(p.eyes), weight.astype(int))
        by_weight = {"sample_weight": weight}
        expected = {
            "qwk": sklearn.cohen_kappa_score(p.grade, grade, weights="quadratic", **by_weight),
            "referable_auroc": sklearn.roc_auc_score(p.referable, p.referable_score, **by_weight),
            "vision_threatening_auroc": sklearn.roc_auc_score(
                p.vision_threatening, p.vision_threatening_score, **by_weight
            ),
            "sensitivity": sklearn.recall_score(p.referable, called, **by_weight),
            "specificity": sklearn.recall_score(p.referable, called, pos_label=0, **by_weight),
            "ppv": sklearn.precision_score(p.referable, called, **by_weight),
            "npv": sklearn.precision_score(p.referable, called, pos_label=0, **by_weight),
            "accuracy": sklearn.accuracy_score(p.grade, grade, **by_weight),
            "macro_f1": sklearn.f1_score(p.grade[rows], grade[rows], average="macro"),
            "brier": sklearn.brier_score_loss(p.referable, p.referable_score, **by_weight),
        }
        for name, value in expected.items():
            assert values[name][row] == pytest.approx(value, abs=1e-12), name


def test_parity_with_torchmetrics(sample: Predictions) -> None:
    p, drawn = sample, replicates_of(sample)
    values = compute(p, p.referable_score >= 0.5, drawn)
    for row, weight in enumerate(drawn.astype(int)):
        grade, predicted, truth, score = (
            torch.from_numpy(np.repeat(values, weight))
            for values in (p.grade, p.probabilities.argmax(axis=1), p.referable.astype(int), p.referable_score)
        )
        kappa = torchmetrics.multiclass_cohen_kappa(predicted, grade, num_classes=5, weights="quadratic")
        assert values["qwk"][row] == pytest.approx(kappa.item(), abs=1e-5)
        auroc = torchmetrics.binary_auroc(score, truth)
        assert values["referable_auroc"][row] == pytest.approx(auroc.item(), abs=1e-5)


def test_predictive_values_follow_from_sensitivity_and_specificity_by_bayes(simulate) -> None:
    p = simulate(0)
    metrics = {name: values[0] for name, values in compute(p, p.referable_score >= 0.5, np.ones((1, p.eyes))).items()}
    sensitivity, specificity = metrics["sensitivity"], metrics["specificity"]
    ill = 1000 * 0.1
    assert metrics["ppv_10"] == pytest.approx(ill * sensitivity / (ill * sensitivity + 900 * (1 - specificity)))
    assert metrics["npv_10"] == pytest.approx(900 * specificity / (900 * specificity + ill * (1 - sensitivity)))
    assert metrics["ppv_5"] < metrics["ppv_10"] < metrics["ppv_20"]


def test_missed_severe_eyes_are_counted(simulate) -> None:
    p = simulate(0)
    metrics = compute(p, np.zeros(p.eyes, dtype=bool), np.ones((1, p.eyes)))
    assert metrics["missed_severe"] == metrics["severe"] == (p.grade >= 3).sum() > 0
    assert compute(p, np.ones(p.eyes, dtype=bool), np.ones((1, p.eyes)))["missed_severe"] == 0


def test_metrics_that_need_both_classes_are_nan_with_one(simulate) -> None:
    p = simulate(0)
    healthy = replace(p, referable=np.zeros(p.eyes, dtype=bool))
    metrics = compute(healthy, p.referable_score >= 0.5, np.ones((1, p.eyes)))
    undefined = {name for name, values in metrics.items() if np.isnan(values[0])}
    by_disease = {"referable_auroc", "sensitivity", "calibration_slope", "calibration_intercept"}
    assert undefined == by_disease | {f"{value}_{share}" for value in ("ppv", "npv") for share in (5, 10, 20)}


def test_metrics_of_five_grades_are_nan_for_a_head_with_one_output(simulate) -> None:
    p = replace(simulate(0), probabilities=None, vision_threatening_score=None)
    metrics = compute(p, p.referable_score >= 0.5, np.ones((1, p.eyes)))
    assert tuple(metrics) == tuple(METRICS)
    undefined = {name for name, values in metrics.items() if np.isnan(values[0])}
    assert undefined == {"qwk", "vision_threatening_auroc", "accuracy", "macro_f1"}


def test_one_metric_of_the_sample(simulate) -> None:
    p = simulate(0)
    assert compute_one("referable_auroc", p) == pytest.approx(sklearn.roc_auc_score(p.referable, p.referable_score))
