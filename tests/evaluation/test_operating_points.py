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
    p: Predictions, floor: float = NO_FLOOR, pooled: np.ndarray | None = None, **wanted: float
) -> OperatingPoint:
    return choose_operating_point(p.referable, p.referable_score, floor, settings(**wanted), pooled)


def counts(*scores: float) -> np.ndarray:
    return np.bincount((np.array(scores) * BINS).astype(int), minlength=BINS).astype(float)


def eyes(grade: list[int], threat: list[float]) -> Predictions:
    """Predictions for patients with one eye each."""
    grades, scores = np.array(grade), np.array(threat)
    probabilities = np.stack([1 - scores, scores * 0, scores * 0, scores, scores * 0], axis=1)
    return Predictions(grades, grades >= 2, grades >= 3, probabilities, scores, scores, np.arange(len(grade)))


@hypothesis(max_examples=25)
@given(seed=st.integers(0, 1000), target=st.floats(0.01, 1), decimals=st.integers(1, 6))
def test_without_a_floor_it_is_the_highest_threshold_that_reaches_the_target(simulate, seed, target, decimals) -> None:
    p = simulate(seed, patients=20)
    p = replace(p, referable_score=p.referable_score.round(decimals))
    positive = p.referable_score[p.referable]
    found = chosen(p, target=target)
    assert (positive >= found.threshold).mean() >= target - 1e-9
    assert (positive > found.threshold).mean() < target
    assert (found.source, found.bound_by) == (Source.LOCAL, Bound.SENSITIVITY)


@hypothesis(max_examples=25)
@given(seed=st.integers(0, 1000), target=st.floats(0.01, 1), floor=st.floats(0.3, 0.95), decimals=st.integers(1, 6))
def test_the_floor_holds_with_95_percent_confidence(simulate, seed, target, floor, decimals) -> None:
    p = simulate(seed)
    p = replace(p, referable_score=p.referable_score.round(decimals))
    found = chosen(p, floor, target=target)
    healthy = p.referable_score[~p.referable] >= found.threshold
    if found.source is Source.WITHHELD:
        assert "healthy" in found.reason
        return
    upper = binomtest(int(healthy.sum()), healthy.size).proportion_ci(confidence_level=0.9, method="exact").high
    assert upper <= 1 - floor + 1e-9
    free = chosen(p, target=target)
    assert found.threshold >= free.threshold
    assert (found.bound_by is Bound.SENSITIVITY) == (found.threshold == free.threshold)


@hypothesis(max_examples=25)
@given(seed=st.integers(0, 300), floors=st.lists(st.floats(0, 0.95), min_size=2, max_size=2).map(sorted))
def test_more_specificity_never_lowers_and_more_sensitivity_never_raises_a_threshold(simulate, seed, floors) -> None:
    p, (low, high) = simulate(seed), floors
    assert chosen(p, low).threshold <= chosen(p, high).threshold
    assert chosen(p, low, target=high + 0.05).threshold <= chosen(p, low, target=low + 0.05).threshold


def test_the_floor_holds_for_new_eyes_in_19_of_20_hospitals() -> None:
    generator, floor, held = np.random.default_rng(0), 0.9, []
    for _ in range(200):
        healthy, diseased = generator.beta(1, 4, 60), generator.beta(4, 2, 20)
        sought = np.repeat([False, True], [60, 20])
        found = choose_operating_point(sought, np.concatenate([healthy, diseased]), floor, settings(target=1.0), None)
        held.append((generator.beta(1, 4, 20_000) >= found.threshold).mean() <= 1 - floor)
    assert np.mean(held) >= 0.92


@pytest.mark.parametrize(("healthy", "floor", "allowed"), [(28, 0.9, None), (29, 0.9, 0), (4, 0.5, None), (5, 0.5, 0)])
def test_how_many_healthy_eyes_it_takes(healthy: int, floor: float, allowed: int | None) -> None:
    assert false_positives_allowed(healthy, floor) == allowed


def test_few_diseased_eyes_are_joined_by_the_federations_counts() -> None:
    """Three diseased eyes, one with a very low score: alone they would give a threshold of 0.004."""
    p = eyes([0] * 100 + [3] * 3, [*np.linspace(0, 0.2, 100), 0.004, 0.5, 0.6])
    pooled = counts(*np.linspace(0.31, 0.95, 200))
    found = choose_operating_point(p.detectable(3), p.vision_threatening_score, 0.9, settings(fewest=20), pooled)
    assert (found.source, found.positives, found.pooled_positives) == (Source.POOLED, 3, 200)
    assert 0.3 <= found.threshold <= 0.4
    alone = choose_operating_point(p.detectable(3), p.vision_threatening_score, 0.0, settings(fewest=3), None)
    assert alone.threshold == 0.004


@hypothesis(max_examples=25)
@given(local=st.integers(0, 20), low=st.booleans())
def test_the_more_eyes_a_hospital_has_the_less_the_federation_weighs(local: int, low: bool) -> None:
    """For any claim, the federation's weight is at most the number of missing eyes."""
    scores, lie = np.linspace(0.4, 0.6, local), counts(*[0.0 if low else 0.99] * 50)
    found = choose_operating_point(np.ones(local, dtype=bool), scores, 0.0, settings(fewest=20), lie)
    reached = (scores >= found.threshold).sum()
    if local == 20:
        assert found.source is Source.LOCAL
    assert reached >= (min(local, 18) if low else local - 2)
    assert found.pooled_positives == (0 if local == 20 else 50)


def test_counts_that_do_not_fit_the_hospitals_own_eyes_decide_nothing() -> None:
    """Otherwise a coordinator could claim high scores, and the hospital would silently refer nobody."""
    p, lie = eyes([0] * 100 + [3] * 3, [*np.linspace(0, 0.2, 100), 0.4, 0.5, 0.6]), counts(*[0.98] * 300)
    found = choose_operating_point(p.detectable(2), p.referable_score, 0.5, settings(fewest=20), lie)
    assert found.source is Source.WITHHELD
    assert "1 of 3 diseased eyes here would be found" in found.reason


@pytest.mark.parametrize("claimed", [0, 3_000, 1_000_000])
def test_one_hospital_that_claims_any_number_of_eyes_leaves_no_others_unreferred(claimed: int) -> None:
    """A hospital without diseased eyes cannot detect false counts of others."""
    honest = [{"referable_sought": counts(*np.linspace(low, 0.9, 100))} for low in (0.3, 0.35, 0.4)]
    pooled = evidence_counts([*honest, {"referable_sought": counts(0.999) * claimed}, {}])["referable_sought"]
    assert not (pooled % 1).any()
    found = choose_operating_point(np.zeros(300, bool), np.linspace(0, 0.4, 300), 0.5, settings(fewest=20), pooled)
    assert found.source is Source.POOLED
    assert (np.linspace(0.35, 0.9, 100) >= found.threshold).mean() > 0.75


@pytest.mark.parametrize("pooled", [None, counts(0.5, 0.7)], ids=["none", "too few"])
def test_with_few_diseased_eyes_everywhere_it_is_withheld_and_says_why(pooled) -> None:
    p = eyes([0] * 100 + [3] * 3, [*np.linspace(0, 0.2, 100), 0.4, 0.5, 0.6])
    found = choose_operating_point(p.detectable(3), p.vision_threatening_score, 0.9, settings(fewest=20), pooled)
    assert found.source is Source.WITHHELD
    pooled_eyes = 0 if pooled is None else 2
    assert found.reason == (
        f"3 diseased eyes in the validation set and {pooled_eyes} in the federation's counts: 20 are needed"
    )


@pytest.mark.parametrize("grades", [[], [0] * 40, [3] * 40, [0], [3]], ids=len)
def test_any_validation_set_gives_points(grades: list[int]) -> None:
    p = eyes(grades, [0.5] * len(grades))
    found = choose_operating_points(p, EvaluationSettings())
    assert found.urgent is not None
    assert found.urgent.source is Source.WITHHELD
    assert all(lines(found))


def test_labelled_oedema_counts_for_a_model_with_an_output_of_it_alone(tiny_site) -> None:
    """Eyes of grade 0 with labelled oedema: a model with grades alone cannot detect them."""
    healthy, oedematous = tiny_site("messidor2_a").shard.train, tiny_site("messidor2_a", oedema=True).shard.train
    examples: list[Example] = [replace(e, grade=0) for e in (*healthy[:10], *oedematous[10:])]
    graded = np.tile([0.9, 0.1, 0, 0, 0], (len(examples), 1))
    without = predictions(examples, graded)
    assert without.vision_threatening.any()  # the label is still true
    for least in (2, 3):
        assert not without.detectable(least).any()
    sent = table(without, without.referable, 1)
    assert sent["urgent_sought"].sum() == sent["referable_sought"].sum() == 0
    found = choose_operating_points(without, EvaluationSettings())
    assert found.urgent is not None
    assert (found.urgent.positives, found.referable.positives) == (0, 0)
    with_output = predictions(examples, graded, np.array([bool(e.oedema) for e in examples], dtype=float))
    assert np.array_equal(with_output.detectable(3), with_output.vision_threatening)


def test_counts_are_summed_over_hospitals(simulate) -> None:
    sites = [simulate(seed, labels=seed) for seed in range(3)]
    found = pooled_evidence(add([table(p, p.referable, 5) for p in sites]))
    assert found is not None
    assert found.urgent is not None
    assert found.urgent.sum() == sum((p.grade >= 3).sum() for p in sites)
    assert pooled_evidence(add([])) is None


@hypothesis(max_examples=25)
@given(seed=st.integers(0, 300), fewest=st.integers(1, 200), floor=st.sampled_from([0.5, 0.9]))
def test_a_withheld_urgent_calls_nobody_and_leaves_nobody_unreferred(simulate, seed, fewest, floor) -> None:
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
def test_one_photograph_is_decided_as_many(simulate, referable, share_of_threat, seed, fewest) -> None:
    points, threat = choose_operating_points(simulate(seed), settings(fewest=fewest)), referable * share_of_threat
    one = decisions(points, referable, threat)
    referred = bool(refer_by_scores(points, np.array([referable]), np.array([threat]))[0])
    assert one.refers == (True if referred else None if fewest == 500 else False)
    assert one.is_urgent == (None if fewest == 500 else call_urgent(points, np.array([threat]))[0])
    assert not one.is_urgent or one.refers


@hypothesis(max_examples=25)
@given(count=st.integers(0, 60), more=st.integers(0, 60))
def test_shares_have_the_exact_interval(count: int, more: int) -> None:
    found = share(np.repeat([True, False], [count, more]))
    if count + more == 0:
        assert found.value is None
        return
    expected = binomtest(count, count + more).proportion_ci(method="exact")
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_performance_in_counts() -> None:
    sought, said = np.array([1, 1, 1, 0, 0], dtype=bool), np.array([1, 1, 0, 1, 0], dtype=bool)
    found = performance(sought, said)
    shares = (found.sensitivity, found.specificity, found.ppv)
    assert [(each.count, each.of) for each in shares] == [(2, 3), (1, 2), (2, 3)]
