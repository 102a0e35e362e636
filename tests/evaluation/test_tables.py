from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from teledx_fed.core.score_tables import SHAPES
from teledx_fed.core.updates import Tables
from teledx_fed.evaluation.metrics import compute
from teledx_fed.evaluation.predictions import Predictions, pool
from teledx_fed.evaluation.tables import SCORES, add, scores, table

EXACT = (
    *("qwk", "accuracy", "macro_f1", "sensitivity", "specificity", "ppv", "npv", "missed_severe", "severe"),
    *(f"{value}_{share}" for value in ("ppv", "npv") for share in (5, 10, 20)),
)


def counted(p: Predictions, threshold: float = 0.5) -> Tables:
    return table(p, p.referable_score >= threshold, 5)


def same(one: float | None, other: float) -> bool:
    return np.isnan(other) if one is None else one == pytest.approx(other, abs=1e-9)


@pytest.mark.slow
@given(seeds=st.lists(st.integers(0, 500), min_size=1, max_size=4), thresholds=st.lists(st.floats(0, 1), min_size=4))
def test_summed_tables_score_as_their_pooled_patients(simulate, seeds: list[int], thresholds: list[float]) -> None:
    sites = [simulate(seed, patients=5 + seed % 30, labels=seed) for seed in seeds]
    result = scores(add([counted(site, t) for site, t in zip(sites, thresholds, strict=False)]))
    called = np.concatenate([site.referable_score >= t for site, t in zip(sites, thresholds, strict=False)])
    everyone = pool(sites)
    expected = {name: values[0] for name, values in compute(everyone, called, np.ones((1, everyone.eyes))).items()}
    for name in EXACT:
        assert same(result[name], expected[name]), name
    assert result["brier"] == pytest.approx(expected["brier"], abs=0.005 * len(sites) / everyone.eyes + 1e-12)
    for name in ("referable_auroc", "vision_threatening_auroc"):
        bound = result[f"{name}_bound"]
        assert same(result[name], expected[name]) or abs(result[name] - expected[name]) <= bound + 1e-12, name


def test_the_bound_of_an_auroc_is_reached_by_scores_that_share_a_bin(simulate) -> None:
    p = simulate(0)
    parted = replace(p, referable_score=np.where(p.referable, 0.502, 0.501))
    result = scores(counted(parted))
    assert result["referable_auroc"] == result["referable_auroc_bound"] == 0.5


def test_each_grade_against_the_others(simulate) -> None:
    p = simulate(0)
    result = scores(counted(p))
    exact = roc_auc_score(p.grade, p.probabilities, multi_class="ovr", average="macro")
    assert result["macro_auroc"] == pytest.approx(exact, abs=result["macro_auroc_bound"])
    assert result["macro_auroc_bound"] < 0.02


def test_the_mean_score_excess(simulate) -> None:
    p = simulate(0)
    result = scores(counted(p))["mean_score_excess"]
    assert result == pytest.approx(p.referable_score.mean() - p.referable.mean(), abs=0.005 / p.eyes)


def test_a_table_has_the_declared_arrays_and_no_others(simulate) -> None:
    tables = counted(simulate(0))
    assert {name: array.shape for name, array in tables.items()} == SHAPES
    assert all(array.dtype == np.float64 for array in tables.values())
    assert (tables["eyes"], tables["patients"]) == (120, 60)


def test_a_head_with_one_output_sends_and_scores_what_it_can(simulate) -> None:
    p = simulate(0)
    tables = counted(replace(p, probabilities=None, vision_threatening_score=None))
    graded = {"confusion", "grade_scores", "vision_threatening_scores", "urgent_sought"}
    assert SHAPES.keys() - tables.keys() == graded
    result, full = scores(tables), scores(counted(p))
    assert tuple(result) == SCORES
    assert {name for name, value in result.items() if value is None} >= {"qwk", "accuracy", "macro_f1", "macro_auroc"}
    assert all(value in (None, full[name]) for name, value in result.items())
    assert result["referable_auroc"] is not None


def test_a_site_with_few_patients_sends_nothing_and_counts_for_nothing(simulate) -> None:
    few, many = simulate(0, patients=4, eyes=5), simulate(1)
    assert counted(few) == {}
    tables = counted(many)
    summed = add([counted(few), tables])
    assert all(np.array_equal(summed[name], tables[name]) for name in SHAPES)
    assert scores(add([])) == dict.fromkeys(SCORES)


@pytest.mark.parametrize("name", SHAPES)
def test_scores_of_an_absurd_or_partial_table_raise_no_error(simulate, name: str) -> None:
    tables = counted(simulate(0))
    for array in (np.zeros(SHAPES[name]), np.full(SHAPES[name], 1e308)):
        result = scores({**tables, name: array})
        assert all(value is None or np.isfinite(value) for value in result.values())
    assert tuple(scores({name: tables[name]})) == SCORES
