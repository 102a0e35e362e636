"""Comparison of models: paired, over seeds, in agreement with DeLong, adjusted for the number of tests."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm

from teledx_fed.config.run import EvaluationSettings
from teledx_fed.evaluation import test_predictions
from teledx_fed.evaluation.bootstrap import mean_of_repeats, seed_deviations
from teledx_fed.evaluation.cross_site import ModelComparison, compare, matrix
from teledx_fed.evaluation.intervals import estimate, holm, multiplicities, two_sided_p
from teledx_fed.evaluation.operating_points import call_referable, call_urgent, choose_operating_points
from teledx_fed.evaluation.predictions import Predictions, same_eyes
from teledx_fed.evaluation.test_predictions import Evaluation, concatenate_folds
from teledx_fed.reporting.operating_points import points_of

Simulate = Callable[..., Predictions]


def evaluation(models: dict[str, dict[str, Predictions]], first_patient: int = 0) -> Evaluation:
    called = {model: {s: p.referable_score >= 0.5 for s, p in sites.items()} for model, sites in models.items()}
    sites = next(iter(models.values()))
    names = {site: tuple(f"patient {first_patient + i}" for i in range(p.patients)) for site, p in sites.items()}
    return Evaluation(models, called, names)


def compared(repeats: Sequence[Evaluation], replicates: int = 400, seed: int = 0) -> ModelComparison:
    return compare(repeats, replicates, np.random.default_rng(seed))


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
    found = compared([evaluation({"federated": {"here": one}, "local": {"here": other}})], 2000)
    difference = found.differences["local"]["sites"]["here"]["referable_auroc"]
    value, error = delong(one.referable, one.referable_score, other.referable_score)
    assert difference["value"] == pytest.approx(value, abs=1e-9)
    width = difference["high"] - difference["low"]
    assert width == pytest.approx(2 * norm.ppf(0.975) * error, rel=0.12)
    assert difference["p"] == pytest.approx(2 * norm.sf(abs(value) / error), abs=0.04)


def test_repeats_are_averaged_and_widen_what_differs_between_them(simulate: Simulate) -> None:
    def repeat(seed: int, skill: float) -> Evaluation:
        return evaluation({"federated": {"here": simulate(seed, skill=skill)}})

    alone = [compared([repeat(seed, skill)]) for seed, skill in ((0, 0.5), (1, 3.0))]
    values = [found.models["federated"]["mean_of_sites"]["referable_auroc"]["value"] for found in alone]
    both = compared([repeat(0, 0.5), repeat(1, 3.0)]).models["federated"]["mean_of_sites"]["referable_auroc"]
    assert both["value"] == pytest.approx(np.mean(values))
    twice = compared([repeat(0, 0.5), repeat(0, 0.5)]).models["federated"]["mean_of_sites"]["referable_auroc"]
    once = alone[0].models["federated"]["mean_of_sites"]["referable_auroc"]
    assert both["high"] - both["low"] > 0.9 * abs(values[0] - values[1])
    assert twice["high"] - twice["low"] == pytest.approx(once["high"] - once["low"], rel=0.2)


@pytest.mark.parametrize("seeds", [pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("patients", "seed_alone"), [(0.0, 1.0), (1.0, 0.0), (1.0, 0.5), (1.0, 2.0)])
def test_intervals_over_few_seeds_hold_the_truth(seeds: int, patients: float, seed_alone: float) -> None:
    """Each seed tests another half of 100 patients, whose values vary by `patients`, and has its own error.

    With resampling, intervals over two seeds would contain the truth in half of the cases if only seeds differ.
    """
    drawn = np.random.default_rng(0)

    def holds() -> bool:
        person, own = drawn.normal(size=100) * patients, drawn.normal(size=(seeds, 1)) * seed_alone / np.sqrt(50)
        tested = drawn.permuted(np.tile(np.arange(100) < 50, (seeds, 1)), axis=1)
        times = np.vstack([np.ones(100), multiplicities(np.arange(100), 200, drawn)])
        said = (tested * person) @ times.T / (tested @ times.T) + own
        found = estimate(mean_of_repeats(said, seed_deviations(seeds, 200, drawn)))
        assert found is not None
        assert found.value == pytest.approx(said[:, 0].mean())
        return found.low <= 0 <= found.high

    assert 0.92 <= np.mean([holds() for _ in range(400)]) <= 0.985


def test_a_metric_is_told_where_every_repeat_has_it(simulate: Simulate) -> None:
    """Otherwise two models would be compared over different seeds."""
    p, healthy = simulate(0), np.zeros_like(simulate(0).referable)
    lone = replace(p, referable=healthy, referable_score=p.referable_score)
    found = compared([evaluation({"federated": {"a": p, "b": q}, "local": {"a": p, "b": q}}) for q in (p, lone)])
    for part in (*found.models.values(), *found.differences.values()):
        assert part["sites"]["b"]["referable_auroc"] is None
        assert part["mean_of_sites"]["referable_auroc"]["sites"] == 1
    difference = found.differences["local"]["mean_of_sites"]["referable_auroc"]
    assert (difference["value"], difference["low"], difference["high"]) == (0, 0, 0)


def test_no_interval_goes_beyond_what_a_metric_can_be(simulate: Simulate) -> None:
    repeats = [evaluation({"federated": {"here": simulate(seed, skill=skill)}}) for seed, skill in ((0, 0.2), (1, 9.0))]
    found = compared(repeats).models["federated"]["sites"]["here"]
    assert (found["referable_auroc"]["low"], found["referable_auroc"]["high"]) == (0, 1)
    assert (found["qwk"]["low"], found["qwk"]["high"]) == (-1, 1)


def test_a_hospital_of_one_grade_has_no_qwk_and_is_no_models_worst(simulate: Simulate) -> None:
    """There kappa is 0 by its formula for any predictions, and 0 / 0 if all are right."""
    here, alike = simulate(0), simulate(1, labels=1)
    one_grade = replace(alike, grade=np.zeros_like(alike.grade))
    right = replace(one_grade, probabilities=np.eye(5)[one_grade.grade])
    found = compared([evaluation({"federated": {"a": here, "b": right}, "local": {"a": here, "b": one_grade}})])
    for model in found.models.values():
        assert model["sites"]["b"]["qwk"] is None
        assert model["worst_of_sites"]["qwk"]["site"] == "a"
    assert found.differences["local"]["worst_of_sites"]["qwk"]["value"] == 0


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


def test_a_cross_validation_tests_each_patient_once(simulate: Simulate) -> None:
    folds = [simulate(seed, patients=20) for seed in range(3)]
    found = concatenate_folds(
        [evaluation({"federated": {"here": fold}}, first_patient=20 * i) for i, fold in enumerate(folds)]
    )
    p = found.predictions["federated"]["here"]
    assert p.patients == len(set(found.patients["here"])) == 60
    assert found.patients["here"][p.patient[40]] == "patient 20"
    np.testing.assert_array_equal(p.referable_score, np.concatenate([fold.referable_score for fold in folds]))
    assert found.called["federated"]["here"].size == p.eyes


def test_what_was_written_is_read(simulate: Simulate, tmp_path: Path) -> None:
    binary = replace(simulate(1), probabilities=None, vision_threatening_score=None)
    before = evaluation({"federated": {"a/b": simulate(0), "東京": simulate(1)}, "local of a/b": {"a/b": binary}})
    test_predictions.write(before, tmp_path / "tested")
    after = test_predictions.read(tmp_path / "tested")
    assert after.patients == before.patients
    for model, sites in before.predictions.items():
        for site, p in sites.items():
            found = after.predictions[model][site]
            assert same_eyes(found, p)
            np.testing.assert_array_equal(found.referable_score, p.referable_score)
            assert (found.probabilities is None) == (p.probabilities is None)
            np.testing.assert_array_equal(after.called[model][site], before.called[model][site])


def test_operating_points_are_kept_and_joined_over_folds(simulate: Simulate, tmp_path: Path) -> None:
    folds = [evaluation({"federated": {"here": simulate(seed, patients=40)}}) for seed in range(2)]
    found = [
        with_points(fold, EvaluationSettings(fewest_positives=fewest))
        for fold, fewest in zip(folds, (1, 500), strict=True)
    ]
    test_predictions.write(concatenate_folds(found), tmp_path / "tested")
    after = test_predictions.read(tmp_path / "tested")
    points = after.points["federated"]["here"]
    assert points == (*found[0].points["federated"]["here"], *found[1].points["federated"]["here"])
    at_once, withheld = after.urgent["federated"]["here"], after.withheld["federated"]["here"]
    np.testing.assert_array_equal(withheld, np.repeat([False, True], 80))
    assert at_once[:80].any()
    assert not at_once[80:].any()
    assert after.named({"federated": "run"}).points == {"run": {"here": points}}
    told = points_of(after)["here"]
    assert told["urgent"]["withheld_eyes"] == 80
    assert [point["source"] for point in told["urgent"]["points"]] == ["local", "withheld"]
    assert told["urgent"]["test"]["ppv"]["of"] == at_once.sum()
    assert told["severe_referred"]["of"] == (after.predictions["federated"]["here"].grade >= 3).sum()


def with_points(tested: Evaluation, settings: EvaluationSettings) -> Evaluation:
    p = tested.predictions["federated"]["here"]
    points = choose_operating_points(p, settings)
    assert points.urgent is not None
    assert p.vision_threatening_score is not None
    return replace(
        tested,
        called={"federated": {"here": call_referable(points, p)}},
        urgent={"federated": {"here": call_urgent(points, p.vision_threatening_score)}},
        withheld={"federated": {"here": np.full(p.eyes, points.urgent.withheld)}},
        points={"federated": {"here": (points,)}},
    )


def test_runs_of_other_patients_are_not_paired(simulate: Simulate) -> None:
    one = evaluation({"federated": {"here": simulate(0)}})
    with pytest.raises(ValueError, match="models must be tested on the same patients"):
        one | evaluation({"other": {"here": simulate(1)}}, first_patient=1)
    both = one | one.named({"federated": "twin"})
    assert compared([both]).differences["twin"]["mean_of_sites"]["qwk"]["p"] == 1


def test_the_matrix_is_every_model_at_every_hospital(simulate: Simulate) -> None:
    models = {"federated": {"a": simulate(0), "b": simulate(1, labels=1)}}
    models["local of a"] = {"a": simulate(2), "b": simulate(3, labels=1)}
    told = evaluation(models)
    found, full = matrix([told], 50, np.random.default_rng(0)), compared([told], 50)
    for model in models:
        for site in ("a", "b"):
            for name in ("referable_auroc", "qwk"):
                assert found[model][site][name] == full.models[model]["sites"][site][name]


def test_the_worst_hospital_is_named(simulate: Simulate) -> None:
    good, bad = simulate(0, skill=3.0), simulate(1, skill=0.3, labels=1)
    found = compared([evaluation({"federated": {"a": good, "b": bad}})]).models["federated"]
    worst = found["worst_of_sites"]["referable_auroc"]
    assert worst["site"] == "b"
    assert worst["value"] == found["sites"]["b"]["referable_auroc"]["value"]


def test_the_difference_of_the_worst_hospitals_is_that_of_their_values(simulate: Simulate) -> None:
    """For equal models it has no bias; the lowest of the differences would."""
    models = {
        "federated": {"a": simulate(0, skill=3.0), "b": simulate(1, skill=0.3, labels=1)},
        "local": {"a": simulate(2, skill=0.5), "b": simulate(3, skill=2.0, labels=1)},
    }
    found = compared([evaluation(models)])
    worst = {model: found.models[model]["worst_of_sites"]["qwk"] for model in models}
    assert (worst["federated"]["site"], worst["local"]["site"]) == ("b", "a")
    difference = found.differences["local"]["worst_of_sites"]["qwk"]
    assert difference["value"] == pytest.approx(worst["federated"]["value"] - worst["local"]["value"])
    assert difference["low"] < difference["value"] < difference["high"]


def test_holm_by_hand() -> None:
    """Holm 1979: the lowest times four, the next times three, never below the one before."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9]) == [0.9]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_only_raises_keeps_the_order_and_stays_a_probability(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(a >= b - 1e-12 and a <= 1 for a, b in zip(adjusted, p, strict=True))
    assert min(adjusted) == pytest.approx(min(1, len(p) * min(p)))
    order = np.argsort(p, kind="stable")
    assert (np.diff(np.array(adjusted)[order]) >= 0).all()


def test_p_counts_replicates_on_the_other_side() -> None:
    assert two_sided_p(np.array([1.0, *np.full(999, 1.0)])) == pytest.approx(0.002)
    assert two_sided_p(np.array([0.0, *np.linspace(-1, 1, 999)])) == 1.0
    assert two_sided_p(np.array([1.0, -1, 1, 1, 1, 1, 1, 1, 1, np.nan])) == pytest.approx(4 / 9)
