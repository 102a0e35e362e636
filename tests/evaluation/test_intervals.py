from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from teledx_fed.evaluation.intervals import design_effects, estimate, holm, multiplicities, table_intervals, two_sided_p
from teledx_fed.evaluation.metrics import METRICS, compute
from teledx_fed.evaluation.predictions import Predictions, pool
from teledx_fed.evaluation.tables import table

THRESHOLD = 0.5


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def bootstrap(p: Predictions, patient: np.ndarray, replicates: int = 400) -> dict[str, np.ndarray]:
    drawn = np.concatenate([np.ones((1, p.eyes)), multiplicities(patient, replicates, generator())])
    return compute(p, p.referable_score >= THRESHOLD, drawn)


def copied(single: Predictions, eyes: int) -> Predictions:
    """Give every patient `eyes` equal eyes."""
    return replace(pool([single] * eyes), patient=np.tile(single.patient, eyes))


def test_a_patient_is_drawn_with_both_eyes() -> None:
    drawn = multiplicities(np.array([0, 1, 0, 2, 1, 2]), 200, generator())
    np.testing.assert_array_equal(drawn[:, [0, 1, 3]], drawn[:, [2, 4, 5]])
    assert (drawn[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert drawn.std(axis=0).min() > 0


def test_the_interval_has_the_percentiles_of_the_replicates() -> None:
    interval = estimate(np.concatenate([[7.0], np.arange(101.0), [np.nan] * 50]))
    assert interval is not None
    assert (interval.value, interval.low, interval.high) == (7.0, 2.5, 97.5)


@pytest.mark.parametrize("values", [[np.nan, 1.0, 2.0], [1.0, np.nan, np.nan]])
def test_an_undefined_value_has_no_interval(values: list[float]) -> None:
    assert estimate(np.array(values)) is None


@pytest.mark.slow
def test_95_percent_intervals_cover_the_truth_only_if_patients_are_drawn_with_all_eyes() -> None:
    """Four images a patient, with equal calls: with independent rows, intervals would be half as wide."""
    truth, simulations, random = 0.8, 200, generator()
    covered = dict.fromkeys(("patients", "rows"), 0)
    for _ in range(simulations):
        called = np.repeat(random.random(60) < truth, 4)
        clusters = {"patients": np.repeat(np.arange(60), 4), "rows": np.arange(240)}
        for name, cluster in clusters.items():
            interval = estimate(np.append(called.mean(), multiplicities(cluster, 200, random) @ called / 240))
            assert interval is not None
            covered[name] += interval.low <= truth <= interval.high
    assert 0.88 < covered["patients"] / simulations < 0.99
    assert covered["rows"] / simulations < 0.8


def test_the_design_effect_of_copies_is_their_number(simulate) -> None:
    copies = copied(simulate(0, patients=80, eyes=1), 3)
    effects = design_effects(copies, copies.referable_score >= THRESHOLD, 1000, generator())
    for name in ("qwk", "referable_auroc", "sensitivity", "accuracy", "brier"):
        assert effects[name] == pytest.approx(3, abs=0.6), name


def test_the_design_effect_of_one_eye_a_patient_is_one(simulate) -> None:
    p = simulate(0, patients=80, eyes=1)
    effects = design_effects(p, p.referable_score >= THRESHOLD, 100, generator())
    assert set(effects.values()) == {1.0}


def test_the_design_effect_is_a_coarse_number(simulate) -> None:
    p = simulate(0, eyes=3)
    effects = design_effects(p, p.referable_score >= THRESHOLD, 100, generator())
    assert all(effect >= 1 and effect % 0.25 == 0 for effect in effects.values())


@pytest.mark.parametrize("seed", range(3))
def test_a_design_effect_is_at_most_the_number_of_eyes_of_a_patient(simulate, seed: int) -> None:
    """Five healthy patients, three of their eyes called: if all sampled ones are called, the NPV at 5 % is 0.

    That happens hundreds of times more often by patient than by eye.
    """
    few = simulate(0, patients=12)
    referable, called = np.repeat([False, True], [10, 14]), np.repeat([True, False, True], [3, 8, 13])
    effects = design_effects(replace(few, referable=referable), called, 1000, generator(seed))
    assert 1 < max(effects.values()) <= 2


def test_a_design_effect_depends_only_on_the_patients_that_the_metric_counts() -> None:
    """Healthy patients have one eye, ill ones two equal eyes: sensitivity has the effect of the ill."""
    random = generator()
    patient = np.concatenate([np.arange(300), np.repeat(np.arange(300, 360), 2)])
    referable = patient >= 300
    score = random.random(360)[patient] * 0.6 + 0.4 * referable
    ill = Predictions(np.where(referable, 2, 0), referable, referable & False, None, score, None, patient)
    effects = design_effects(ill, score >= THRESHOLD, 1000, random)
    assert effects["sensitivity"] == pytest.approx(2, abs=0.25)
    assert effects["specificity"] == pytest.approx(1, abs=0.25)


@pytest.mark.parametrize("eyes", [1, 3])
def test_the_server_computes_about_the_same_intervals_as_from_patients(simulate, eyes: int) -> None:
    sites = [copied(simulate(seed, patients=150, eyes=1, labels=seed), eyes) for seed in range(3)]
    tables = [table(site, site.referable_score >= THRESHOLD, 5) for site in sites]
    effects = [design_effects(site, site.referable_score >= THRESHOLD, 400, generator(1)) for site in sites]
    federated = table_intervals(tables, effects, 400, generator(2))
    everyone = pool(sites)
    at_home = bootstrap(everyone, everyone.patient)
    for name in ("qwk", "referable_auroc", "vision_threatening_auroc", "sensitivity", "ppv_10", "macro_f1", "brier"):
        server, exact = federated[name], estimate(at_home[name])
        assert server is not None
        assert exact is not None
        assert server.value == pytest.approx(exact.value, abs=0.01), name
        assert (server.high - server.low) / (exact.high - exact.low) == pytest.approx(1, abs=0.25), name


def test_a_site_without_a_table_is_skipped(simulate) -> None:
    p = simulate(0)
    effects = dict.fromkeys(METRICS, 1.0)
    alone = table_intervals([table(p, p.referable_score >= 0.5, 5)], [effects], 50, generator())
    assert table_intervals([table(p, p.referable_score >= 0.5, 5), {}], [effects, {}], 50, generator()) == alone
    assert table_intervals([{}], [{}], 50, generator()) == {}


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
