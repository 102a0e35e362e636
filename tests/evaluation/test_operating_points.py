"""Operating points: local ones, their specificity, those with the federation's counts, and withheld ones."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from scipy.stats import binomtest

from teledx_fed.config.run import EvaluationSettings
from teledx_fed.core.examples import Example
from teledx_fed.core.operating_points import Bound, OperatingPoint, Source, lines
from teledx_fed.core.score_tables import BINS
from teledx_fed.evaluation.operating_points import (
    PooledEvidence,
    call_referable,
    call_urgent,
    choose_operating_point,
    choose_operating_points,
    decisions,
    false_positives_allowed,
    performance,
    pooled_evidence,
    refer_by_scores,
    share,
)
from teledx_fed.evaluation.predictions import Predictions, predictions
from teledx_fed.evaluation.tables import add, evidence_counts, table

NO_FLOOR = 0.0


def settings(target: float = 0.9, fewest: int = 1, floor: float = 0.9) -> EvaluationSettings:
    return EvaluationSettings(
        target_sensitivity=target, fewest_positives=fewest, urgent_specificity=floor, referable_specificity=floor
    )


def chosen(
    p: Predictions, floor: float = NO_FLOOR, pooled: np.ndarray | None = None, **changes: float
) -> OperatingPoint:
    return choose_operating_point(p.referable, p.referable_score, floor, settings(**changes), pooled)


def counts(*scores: float) -> np.ndarray:
    return np.bincount((np.array(scores) * BINS).astype(int), minlength=BINS).astype(float)


def eyes(grade: list[int], threat: list[float]) -> Predictions:
    """Predictions for patients with one eye each."""
    grades, scores = np.array(grade), np.array(threat)
    probabilities = np.stack([1 - scores, scores * 0, scores * 0, scores, scores * 0], axis=1)
    return Predictions(grades, grades >= 2, grades >= 3, probabilities, scores, scores, np.arange(len(grade)))


@hypothesis(max_examples=25)
@given(seed=st.integers(0, 1000), target=st.floats(0.01, 1), decimals=st.integers(1, 6))
def test_without_a_minimum_specificity_the_highest_threshold_with_the_target_sensitivity_is_chosen(
    simulate, seed, target, decimals
) -> None:
    p = simulate(seed, patients=20)
    p = replace(p, referable_score=p.referable_score.round(decimals))
    positive = p.referable_score[p.referable]
    point = chosen(p, target=target)
    assert (positive >= point.threshold).mean() >= target - 1e-9
    assert (positive > point.threshold).mean() < target
    assert (point.source, point.bound_by) == (Source.LOCAL, Bound.SENSITIVITY)


@hypothesis(max_examples=25)
@given(seed=st.integers(0, 1000), target=st.floats(0.01, 1), floor=st.floats(0.3, 0.95), decimals=st.integers(1, 6))
def test_the_minimum_specificity_holds_with_95_percent_confidence(simulate, seed, target, floor, decimals) -> None:
    p = simulate(seed)
    p = replace(p, referable_score=p.referable_score.round(decimals))
    point = chosen(p, floor, target=target)
    healthy = p.referable_score[~p.referable] >= point.threshold
    if point.source is Source.WITHHELD:
        assert "healthy" in point.reason
        return
    upper = binomtest(int(healthy.sum()), healthy.size).proportion_ci(confidence_level=0.9, method="exact").high
    assert upper <= 1 - floor + 1e-9
    free = chosen(p, target=target)
    assert point.threshold >= free.threshold
    assert (point.bound_by is Bound.SENSITIVITY) == (point.threshold == free.threshold)


@hypothesis(max_examples=25)
@given(seed=st.integers(0, 300), floors=st.lists(st.floats(0, 0.95), min_size=2, max_size=2).map(sorted))
def test_more_specificity_never_lowers_and_more_sensitivity_never_raises_a_threshold(simulate, seed, floors) -> None:
    p, (low, high) = simulate(seed), floors
    assert chosen(p, low).threshold <= chosen(p, high).threshold
    assert chosen(p, low, target=high + 0.05).threshold <= chosen(p, low, target=low + 0.05).threshold


def test_the_minimum_specificity_holds_for_new_eyes_in_19_of_20_hospitals() -> None:
    generator, floor, passed = np.random.default_rng(0), 0.9, []
    for _ in range(200):
        healthy, diseased = generator.beta(1, 4, 60), generator.beta(4, 2, 20)
        ill = np.repeat([False, True], [60, 20])
        point = choose_operating_point(ill, np.concatenate([healthy, diseased]), floor, settings(target=1.0), None)
        passed.append((generator.beta(1, 4, 20_000) >= point.threshold).mean() <= 1 - floor)
    assert np.mean(passed) >= 0.92


@pytest.mark.parametrize(("healthy", "floor", "allowed"), [(28, 0.9, None), (29, 0.9, 0), (4, 0.5, None), (5, 0.5, 0)])
def test_the_number_of_healthy_eyes_that_a_specificity_needs(healthy: int, floor: float, allowed: int | None) -> None:
    assert false_positives_allowed(healthy, floor) == allowed


def test_the_federations_counts_complete_few_diseased_eyes() -> None:
    """Three diseased eyes, one with a very low score: alone they would give a threshold of 0.004."""
    p = eyes([0] * 100 + [3] * 3, [*np.linspace(0, 0.2, 100), 0.004, 0.5, 0.6])
    pooled = counts(*np.linspace(0.31, 0.95, 200))
    point = choose_operating_point(p.detectable(3), p.vision_threatening_score, 0.9, settings(fewest=20), pooled)
    assert (point.source, point.positives, point.pooled_positives) == (Source.POOLED, 3, 200)
    assert 0.3 <= point.threshold <= 0.4
    alone = choose_operating_point(p.detectable(3), p.vision_threatening_score, 0.0, settings(fewest=3), None)
    assert alone.threshold == 0.004


@hypothesis(max_examples=25)
@given(local=st.integers(0, 20), low=st.booleans())
def test_the_federations_counts_weigh_less_with_more_local_eyes(local: int, low: bool) -> None:
    """For any claim, the federation's weight is at most the number of missing eyes."""
    scores, lie = np.linspace(0.4, 0.6, local), counts(*[0.0 if low else 0.99] * 50)
    point = choose_operating_point(np.ones(local, dtype=bool), scores, 0.0, settings(fewest=20), lie)
    reached = (scores >= point.threshold).sum()
    if local == 20:
        assert point.source is Source.LOCAL
    assert reached >= (min(local, 18) if low else local - 2)
    assert point.pooled_positives == (0 if local == 20 else 50)


def test_counts_that_contradict_the_local_eyes_give_no_operating_point() -> None:
    """Otherwise a coordinator could claim high scores, and the hospital would silently refer nobody."""
    p, lie = eyes([0] * 100 + [3] * 3, [*np.linspace(0, 0.2, 100), 0.4, 0.5, 0.6]), counts(*[0.98] * 300)
    point = choose_operating_point(p.detectable(2), p.referable_score, 0.5, settings(fewest=20), lie)
    assert point.source is Source.WITHHELD
    assert "would find only 1 of 3 diseased eyes" in point.reason


@pytest.mark.parametrize("claimed", [0, 3_000, 1_000_000])
def test_false_counts_of_one_hospital_hardly_raise_the_threshold(claimed: int) -> None:
    """A hospital without diseased eyes cannot detect false counts of others."""
    honest = [{"referable_sought": counts(*np.linspace(low, 0.9, 100))} for low in (0.3, 0.35, 0.4)]
    pooled = evidence_counts([*honest, {"referable_sought": counts(0.999) * claimed}, {}])["referable_sought"]
    assert not (pooled % 1).any()
    point = choose_operating_point(np.zeros(300, bool), np.linspace(0, 0.4, 300), 0.5, settings(fewest=20), pooled)
    assert point.source is Source.POOLED
    assert (np.linspace(0.35, 0.9, 100) >= point.threshold).mean() > 0.75


@pytest.mark.parametrize("pooled", [None, counts(0.5, 0.7)], ids=["none", "too few"])
def test_with_too_few_diseased_eyes_the_operating_point_is_withheld_with_the_reason(pooled) -> None:
    p = eyes([0] * 100 + [3] * 3, [*np.linspace(0, 0.2, 100), 0.4, 0.5, 0.6])
    point = choose_operating_point(p.detectable(3), p.vision_threatening_score, 0.9, settings(fewest=20), pooled)
    assert point.source is Source.WITHHELD
    pooled_eyes = 0 if pooled is None else 2
    assert point.reason == (
        f"3 diseased eyes in the validation set and {pooled_eyes} in the federation's counts: "
        "20 are needed in one of the two"
    )


@pytest.mark.parametrize("grades", [[], [0] * 40, [3] * 40, [0], [3]], ids=len)
def test_any_validation_set_gives_points(grades: list[int]) -> None:
    p = eyes(grades, [0.5] * len(grades))
    point = choose_operating_points(p, EvaluationSettings())
    assert point.urgent is not None
    assert point.urgent.source is Source.WITHHELD
    assert all(lines(point))


def test_labelled_oedema_counts_only_for_a_model_with_an_oedema_output(tiny_site) -> None:
    """Eyes of grade 0 with labelled oedema: a model with grades alone cannot detect them."""
    healthy, oedematous = tiny_site("messidor2_a").shard.train, tiny_site("messidor2_a", oedema=True).shard.train
    examples: list[Example] = [replace(e, grade=0) for e in (*healthy[:10], *oedematous[10:])]
    graded = np.tile([0.9, 0.1, 0, 0, 0], (len(examples), 1))
    without = predictions(examples, graded)
    assert without.vision_threatening.any()  # the label is still true
    for least in (2, 3):
        assert not without.detectable(least).any()
    tables = table(without, without.referable, 1)
    assert tables["urgent_sought"].sum() == tables["referable_sought"].sum() == 0
    point = choose_operating_points(without, EvaluationSettings())
    assert point.urgent is not None
    assert (point.urgent.positives, point.referable.positives) == (0, 0)
    with_output = predictions(examples, graded, np.array([bool(e.oedema) for e in examples], dtype=float))
    assert np.array_equal(with_output.detectable(3), with_output.vision_threatening)


def test_counts_are_summed_over_hospitals(simulate) -> None:
    sites = [simulate(seed, labels=seed) for seed in range(3)]
    point = pooled_evidence(add([table(p, p.referable, 5) for p in sites]))
    assert point is not None
    assert point.urgent is not None
    assert point.urgent.sum() == sum((p.grade >= 3).sum() for p in sites)
    assert pooled_evidence(add([])) is None


@hypothesis(max_examples=25)
@given(seed=st.integers(0, 300), fewest=st.integers(1, 200), floor=st.sampled_from([0.5, 0.9]))
def test_a_withheld_urgent_threshold_calls_no_eye_urgent_and_still_refers(simulate, seed, fewest, floor) -> None:
    p = simulate(seed)
    points = choose_operating_points(
        p, settings(fewest=fewest, floor=floor), PooledEvidence(np.zeros(BINS), np.zeros(BINS))
    )
    assert points.urgent is not None
    above = p.vision_threatening_score >= points.urgent.threshold
    assert call_referable(points, p)[above].all()
    assert np.array_equal(call_urgent(points, p.vision_threatening_score), above & (not points.urgent.withheld))


@hypothesis(max_examples=25)
@given(
    referable=st.floats(0, 1),
    share_of_threat=st.floats(0, 1),
    seed=st.integers(0, 50),
    fewest=st.sampled_from([1, 500]),
)
def test_decisions_for_one_photograph_equal_those_for_many(simulate, referable, share_of_threat, seed, fewest) -> None:
    points, threat = choose_operating_points(simulate(seed), settings(fewest=fewest)), referable * share_of_threat
    one = decisions(points, referable, threat)
    referred = bool(refer_by_scores(points, np.array([referable]), np.array([threat]))[0])
    assert one.refers == (True if referred else None if fewest == 500 else False)
    assert one.is_urgent == (None if fewest == 500 else call_urgent(points, np.array([threat]))[0])
    assert not one.is_urgent or one.refers


@hypothesis(max_examples=25)
@given(count=st.integers(0, 60), more=st.integers(0, 60))
def test_shares_have_the_exact_interval(count: int, more: int) -> None:
    point = share(np.repeat([True, False], [count, more]))
    if count + more == 0:
        assert point.value is None
        return
    expected = binomtest(count, count + more).proportion_ci(method="exact")
    assert (point.low, point.high) == pytest.approx((expected.low, expected.high))


def test_performance_in_counts() -> None:
    diseased, called = np.array([1, 1, 1, 0, 0], dtype=bool), np.array([1, 1, 0, 1, 0], dtype=bool)
    point = performance(diseased, called)
    shares = (point.sensitivity, point.specificity, point.ppv)
    assert [(each.count, each.of) for each in shares] == [(2, 3), (1, 2), (2, 3)]
