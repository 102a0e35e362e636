from dataclasses import replace

import numpy as np
import pytest

from teledx_fed.evaluation.intervals import design_effects, estimate, multiplicities, table_intervals
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


def test_an_interval_of_the_percentiles_of_replicates() -> None:
    found = estimate(np.concatenate([[7.0], np.arange(101.0), [np.nan] * 50]))
    assert found is not None
    assert (found.value, found.low, found.high) == (7.0, 2.5, 97.5)


@pytest.mark.parametrize("values", [[np.nan, 1.0, 2.0], [1.0, np.nan, np.nan]])
def test_there_is_no_interval_of_what_is_undefined(values: list[float]) -> None:
    assert estimate(np.array(values)) is None


@pytest.mark.slow
def test_95_percent_intervals_cover_the_truth_only_where_patients_are_drawn_whole() -> None:
    """Four images a patient, with equal calls: with independent rows, intervals would be half as wide."""
    truth, simulations, random = 0.8, 200, generator()
    covered = dict.fromkeys(("patients", "rows"), 0)
    for _ in range(simulations):
        called = np.repeat(random.random(60) < truth, 4)
        clusters = {"patients": np.repeat(np.arange(60), 4), "rows": np.arange(240)}
        for name, cluster in clusters.items():
            found = estimate(np.append(called.mean(), multiplicities(cluster, 200, random) @ called / 240))
            assert found is not None
            covered[name] += found.low <= truth <= found.high
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
def test_no_design_effect_is_above_the_eyes_of_a_patient(simulate, seed: int) -> None:
    """Five healthy patients, three of their eyes called: if all sampled ones are called, the NPV at 5 % is 0.

    That happens hundreds of times more often by patient than by eye.
    """
    few = simulate(0, patients=12)
    referable, called = np.repeat([False, True], [10, 14]), np.repeat([True, False, True], [3, 8, 13])
    effects = design_effects(replace(few, referable=referable), called, 1000, generator(seed))
    assert 1 < max(effects.values()) <= 2


def test_a_design_effect_is_that_of_the_patients_whom_the_metric_looks_at() -> None:
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
def test_the_server_reaches_the_intervals_that_patients_would_give(simulate, eyes: int) -> None:
    sites = [copied(simulate(seed, patients=150, eyes=1, labels=seed), eyes) for seed in range(3)]
    tables = [table(site, site.referable_score >= THRESHOLD, 5) for site in sites]
    effects = [design_effects(site, site.referable_score >= THRESHOLD, 400, generator(1)) for site in sites]
    federated = table_intervals(tables, effects, 400, generator(2))
    everyone = pool(sites)
    at_home = bootstrap(everyone, everyone.patient)
    for name in ("qwk", "referable_auroc", "vision_threatening_auroc", "sensitivity", "ppv_10", "macro_f1", "brier"):
        sent, known = federated[name], estimate(at_home[name])
        assert sent is not None
        assert known is not None
        assert sent.value == pytest.approx(known.value, abs=0.01), name
        assert (sent.high - sent.low) / (known.high - known.low) == pytest.approx(1, abs=0.25), name


def test_a_site_without_a_table_takes_no_part(simulate) -> None:
    p = simulate(0)
    effects = dict.fromkeys(METRICS, 1.0)
    alone = table_intervals([table(p, p.referable_score >= 0.5, 5)], [effects], 50, generator())
    assert table_intervals([table(p, p.referable_score >= 0.5, 5), {}], [effects, {}], 50, generator()) == alone
    assert table_intervals([{}], [{}], 50, generator()) == {}
