"""A server with the photographs of candidate patients, so with their scores, tries to learn who is ill."""

from dataclasses import replace
from itertools import combinations
from math import comb, prod

import numpy as np
import pytest

from teledx_fed.core.score_tables import BINS
from teledx_fed.core.updates import Tables
from teledx_fed.evaluation.intervals import design_effects, multiplicities
from teledx_fed.evaluation.metrics import compute
from teledx_fed.evaluation.predictions import Predictions
from teledx_fed.evaluation.tables import SUM_DECIMALS, table

THRESHOLD = 0.5
ALIKE = 10


@pytest.fixture
def shard() -> Predictions:
    """Patients with one eye each, in groups of ten with almost equal scores, ill or not."""
    generator = np.random.default_rng(3)
    kinds = np.array([[0.6, 0.2, 0.1, 0.06, 0.04], [0.3, 0.4, 0.2, 0.06, 0.04], [0.2, 0.1, 0.5, 0.15, 0.05]])
    probabilities = np.repeat(kinds, ALIKE, axis=0) + 0.004
    probabilities[:, 2] += generator.random(len(probabilities)) * 1e-4
    grade = np.tile([0, 1, 2, 3, 4], len(probabilities) // 5)
    return Predictions(
        grade=generator.permuted(grade.reshape(-1, ALIKE), axis=1).ravel(),
        referable=np.empty(0, dtype=bool),
        vision_threatening=np.empty(0, dtype=bool),
        probabilities=probabilities,
        referable_score=probabilities[:, 2:].sum(axis=1),
        vision_threatening_score=probabilities[:, 3:].sum(axis=1),
        patient=np.arange(len(probabilities)),
    )


def labelled(shard: Predictions, grade: np.ndarray) -> Predictions:
    return replace(shard, grade=grade, referable=grade >= 2, vision_threatening=grade >= 3)


def sent(p: Predictions) -> tuple[dict[str, bytes], dict[str, float]]:
    effects = design_effects(p, p.referable_score >= THRESHOLD, 1000, np.random.default_rng(5))
    return {name: array.tobytes() for name, array in table(p, p.referable_score >= THRESHOLD, 5).items()}, effects


def test_replicates_with_a_known_seed_would_reveal_each_patient(shard: Predictions) -> None:
    p = labelled(shard, shard.grade)
    drawn = multiplicities(p.patient, 2 * p.eyes, np.random.default_rng(0))
    replicates = compute(p, p.referable_score >= THRESHOLD, drawn)["brier"] * drawn.sum(axis=1)
    assert np.linalg.matrix_rank(drawn) == p.eyes
    error = np.linalg.lstsq(drawn, replicates, rcond=None)[0]
    solved = np.abs(error - (1 - p.referable_score) ** 2) < np.abs(error - p.referable_score**2)
    np.testing.assert_array_equal(solved, p.referable)


def test_tables_do_not_depend_on_which_patient_of_a_bin_is_referable(shard: Predictions) -> None:
    generator = np.random.default_rng(4)
    other = generator.permuted(shard.grade.reshape(-1, ALIKE), axis=1).ravel()
    one, two = labelled(shard, shard.grade), labelled(shard, other)
    assert (one.referable != two.referable).sum() > 5
    assert sent(one) == sent(two)


def test_counts_give_one_equation_for_all_patients_of_a_bin(shard: Predictions) -> None:
    p = labelled(shard, shard.grade)
    bins = np.minimum(p.referable_score * BINS, BINS - 1).astype(int)
    equations = bins == np.arange(BINS)[:, None]
    tables = table(p, p.referable_score >= THRESHOLD, 5)["referable_scores"][1]
    np.testing.assert_array_equal(equations @ p.referable.astype(float), tables)
    assert np.linalg.matrix_rank(equations) == p.eyes / ALIKE
    assert prod(comb(ALIKE, int(ill)) for ill in tables[tables > 0]) > 1e6


def test_a_sum_of_full_precision_would_reveal_referable_patients_and_the_rounded_sum_does_not(
    shard: Predictions,
) -> None:
    alike = labelled(shard, shard.grade)
    scores, ill = alike.referable_score[:ALIKE], alike.referable[:ALIKE]
    assignments = [np.isin(np.arange(ALIKE), chosen) for chosen in combinations(range(ALIKE), int(ill.sum()))]
    sums = np.array([((scores - assignment) ** 2).sum() for assignment in assignments])
    truth = ((scores - ill) ** 2).sum()
    assert (np.abs(sums - truth) < 1e-9).sum() == 1
    rounded = np.round(sums, SUM_DECIMALS) == np.round(truth, SUM_DECIMALS)
    assert rounded.sum() > len(assignments) / 2


def test_a_patient_alone_in_a_bin_is_revealed(shard: Predictions) -> None:
    """The limit of any table of counts, so that no page claims more."""
    p = labelled(shard, shard.grade)
    p.referable_score[0] = 0.99
    tables: Tables = table(p, p.referable_score >= THRESHOLD, 5)
    assert tables["referable_scores"][:, int(0.99 * BINS)].tolist() == [not p.referable[0], p.referable[0]]
