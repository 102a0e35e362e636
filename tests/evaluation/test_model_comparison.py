"""Comparison of models: paired, over seeds, in agreement with DeLong, adjusted for the number of tests."""

from dataclasses import replace

import numpy as np
import pytest
from evaluations import Simulate, compared, evaluation
from numpy.typing import NDArray
from scipy.stats import norm

from teledx_fed.evaluation.bootstrap import mean_of_repeats, seed_deviations
from teledx_fed.evaluation.cross_site import matrix
from teledx_fed.evaluation.intervals import estimate, multiplicities
from teledx_fed.evaluation.predictions import same_eyes
from teledx_fed.evaluation.test_predictions import Evaluation


def delong(truth: NDArray[np.bool_], one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float]:
    """Return the difference of two AUROCs on the same cases, and its standard error (DeLong et al. 1988)."""

    def components(scores: NDArray[np.float64]) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        ill, well = scores[truth][:, None], scores[~truth][None]
        wins = (ill > well) + 0.5 * (ill == well)
        return float(wins.mean()), wins.mean(axis=1), wins.mean(axis=0)

    (first, ill_1, well_1), (second, ill_2, well_2) = components(one), components(other)
    variance = np.var(ill_1 - ill_2, ddof=1) / ill_1.size + np.var(well_1 - well_2, ddof=1) / well_1.size
    return first - second, float(np.sqrt(variance))


@pytest.mark.parametrize("skills", [(2.0, 1.0), pytest.param((1.5, 1.5), marks=pytest.mark.slow)])
def test_the_paired_bootstrap_agrees_with_delong(skills: tuple[float, float], simulate: Simulate) -> None:
    """If every patient has one eye, both estimate the same."""
    one, other = (simulate(seed, patients=300, eyes=1, skill=skill) for seed, skill in enumerate(skills))
    assert same_eyes(one, other)
    result = compared([evaluation({"federated": {"here": one}, "local": {"here": other}})], 2000)
    difference = result.differences["local"]["sites"]["here"]["referable_auroc"]
    value, error = delong(one.referable, one.referable_score, other.referable_score)
    assert difference["value"] == pytest.approx(value, abs=1e-9)
    width = difference["high"] - difference["low"]
    assert width == pytest.approx(2 * norm.ppf(0.975) * error, rel=0.12)
    assert difference["p"] == pytest.approx(2 * norm.sf(abs(value) / error), abs=0.04)


def test_repeats_are_averaged_and_their_differences_widen_the_interval(simulate: Simulate) -> None:
    def repeat(seed: int, skill: float) -> Evaluation:
        return evaluation({"federated": {"here": simulate(seed, skill=skill)}})

    alone = [compared([repeat(seed, skill)]) for seed, skill in ((0, 0.5), (1, 3.0))]
    values = [result.models["federated"]["mean_of_sites"]["referable_auroc"]["value"] for result in alone]
    both = compared([repeat(0, 0.5), repeat(1, 3.0)]).models["federated"]["mean_of_sites"]["referable_auroc"]
    assert both["value"] == pytest.approx(np.mean(values))
    twice = compared([repeat(0, 0.5), repeat(0, 0.5)]).models["federated"]["mean_of_sites"]["referable_auroc"]
    once = alone[0].models["federated"]["mean_of_sites"]["referable_auroc"]
    assert both["high"] - both["low"] > 0.9 * abs(values[0] - values[1])
    assert twice["high"] - twice["low"] == pytest.approx(once["high"] - once["low"], rel=0.2)


@pytest.mark.parametrize("seeds", [pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("patients", "seed_alone"), [(0.0, 1.0), (1.0, 0.0), (1.0, 0.5), (1.0, 2.0)])
def test_intervals_over_few_seeds_cover_the_truth(seeds: int, patients: float, seed_alone: float) -> None:
    """Each seed tests another half of 100 patients, whose values vary by `patients`, and has its own error.

    With resampling, intervals over two seeds would contain the truth in half of the cases if only seeds differ.
    """
    drawn = np.random.default_rng(0)

    def holds() -> bool:
        person, seed_effect = (
            drawn.normal(size=100) * patients,
            drawn.normal(size=(seeds, 1)) * seed_alone / np.sqrt(50),
        )
        tested = drawn.permuted(np.tile(np.arange(100) < 50, (seeds, 1)), axis=1)
        times = np.vstack([np.ones(100), multiplicities(np.arange(100), 200, drawn)])
        values = (tested * person) @ times.T / (tested @ times.T) + seed_effect
        result = estimate(mean_of_repeats(values, seed_deviations(seeds, 200, drawn)))
        assert result is not None
        assert result.value == pytest.approx(values[:, 0].mean())
        return result.low <= 0 <= result.high

    assert 0.92 <= np.mean([holds() for _ in range(400)]) <= 0.985


def test_a_metric_is_reported_where_each_repeat_defines_it(simulate: Simulate) -> None:
    """Otherwise two models would be compared over different seeds."""
    p, healthy = simulate(0), np.zeros_like(simulate(0).referable)
    lone = replace(p, referable=healthy, referable_score=p.referable_score)
    result = compared([evaluation({"federated": {"a": p, "b": q}, "local": {"a": p, "b": q}}) for q in (p, lone)])
    for part in (*result.models.values(), *result.differences.values()):
        assert part["sites"]["b"]["referable_auroc"] is None
        assert part["mean_of_sites"]["referable_auroc"]["sites"] == 1
    difference = result.differences["local"]["mean_of_sites"]["referable_auroc"]
    assert (difference["value"], difference["low"], difference["high"]) == (0, 0, 0)


def test_intervals_stay_within_the_range_of_a_metric(simulate: Simulate) -> None:
    repeats = [evaluation({"federated": {"here": simulate(seed, skill=skill)}}) for seed, skill in ((0, 0.2), (1, 9.0))]
    result = compared(repeats).models["federated"]["sites"]["here"]
    assert (result["referable_auroc"]["low"], result["referable_auroc"]["high"]) == (0, 1)
    assert (result["qwk"]["low"], result["qwk"]["high"]) == (-1, 1)


def test_a_hospital_with_one_grade_has_no_qwk_and_is_never_the_worst(simulate: Simulate) -> None:
    """There kappa is 0 by its formula for any predictions, and 0 / 0 if all are right."""
    here, alike = simulate(0), simulate(1, labels=1)
    one_grade = replace(alike, grade=np.zeros_like(alike.grade))
    right = replace(one_grade, probabilities=np.eye(5)[one_grade.grade])
    result = compared([evaluation({"federated": {"a": here, "b": right}, "local": {"a": here, "b": one_grade}})])
    for model in result.models.values():
        assert model["sites"]["b"]["qwk"] is None
        assert model["worst_of_sites"]["qwk"]["site"] == "a"
    assert result.differences["local"]["worst_of_sites"]["qwk"]["value"] == 0


def test_a_patient_is_drawn_as_often_in_every_repeat(simulate: Simulate) -> None:
    """Repeats of one model on the same patients, in any order, are no new evidence."""
    p = simulate(0, patients=40, eyes=1)
    turned = replace(
        p,
        **{
            name: None if (v := getattr(p, name)) is None else v[::-1]
            for name in ("grade", "referable", "vision_threatening", "probabilities", "referable_score")
        },
        vision_threatening_score=p.vision_threatening_score[::-1],
    )
    forward = evaluation({"federated": {"here": p}})
    backward = Evaluation(
        {"federated": {"here": turned}},
        {"federated": {"here": forward.called["federated"]["here"][::-1]}},
        {"here": forward.patients["here"][::-1]},
    )
    one = compared([forward, forward]).models["federated"]["sites"]["here"]["referable_auroc"]
    other = compared([forward, backward]).models["federated"]["sites"]["here"]["referable_auroc"]
    assert one == pytest.approx(other)


def test_the_matrix_has_each_model_at_each_hospital(simulate: Simulate) -> None:
    models = {"federated": {"a": simulate(0), "b": simulate(1, labels=1)}}
    models["local of a"] = {"a": simulate(2), "b": simulate(3, labels=1)}
    evaluated = evaluation(models)
    result, full = matrix([evaluated], 50, np.random.default_rng(0)), compared([evaluated], 50)
    for model in models:
        for site in ("a", "b"):
            for name in ("referable_auroc", "qwk"):
                assert result[model][site][name] == full.models[model]["sites"][site][name]


def test_the_worst_hospital_is_named(simulate: Simulate) -> None:
    good, bad = simulate(0, skill=3.0), simulate(1, skill=0.3, labels=1)
    result = compared([evaluation({"federated": {"a": good, "b": bad}})]).models["federated"]
    worst = result["worst_of_sites"]["referable_auroc"]
    assert worst["site"] == "b"
    assert worst["value"] == result["sites"]["b"]["referable_auroc"]["value"]


def test_the_difference_of_the_worst_hospitals_is_that_of_their_values(simulate: Simulate) -> None:
    """For equal models it has no bias; the lowest of the differences would."""
    models = {
        "federated": {"a": simulate(0, skill=3.0), "b": simulate(1, skill=0.3, labels=1)},
        "local": {"a": simulate(2, skill=0.5), "b": simulate(3, skill=2.0, labels=1)},
    }
    result = compared([evaluation(models)])
    worst = {model: result.models[model]["worst_of_sites"]["qwk"] for model in models}
    assert (worst["federated"]["site"], worst["local"]["site"]) == ("b", "a")
    difference = result.differences["local"]["worst_of_sites"]["qwk"]
    assert difference["value"] == pytest.approx(worst["federated"]["value"] - worst["local"]["value"])
    assert difference["low"] < difference["value"] < difference["high"]
