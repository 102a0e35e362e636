"""Choice of the best round, and the end of a run without a better one."""

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from federated_world import World, crashing, nan
from flwr.app import Message

from teledx_fed.federation.messages import TABLES, vector


def test_until_a_quorum_has_scores_the_best_is_the_latest(world: Callable[..., World]) -> None:
    """A hospital with few patients sends no table: fewer sites than the quorum of three have scores."""
    ran = list(world(federation__quorum=3, outbound__min_patients=8, federation__rounds=3).run())
    assert [progress.best.round for progress, _ in ran] == [0, 1, 2, 3]
    assert ran[-1][0].best.weights.equal(ran[-1][0].weights)


@pytest.mark.slow
@pytest.mark.parametrize("since", [1, 2])
def test_the_best_round_is_chosen_without_a_site_that_a_robust_strategy_tolerates(
    world: Callable[..., World], since: int
) -> None:
    here = world(strategy__name="fedmedian", federation__quorum=3, federation__rounds=6, training__epochs=2)
    ran = list(here.run(lambda site, round, reply: nan(reply) if site == "north" and round >= since else reply))
    best = ran[-1][0].best
    assert best.round > 0
    assert best.scores.keys() >= {"east", "west"}
    assert best.scores["east"] > 0.6


@pytest.mark.slow
def test_patience_counts_only_rounds_that_could_be_compared(world: Callable[..., World]) -> None:
    ran = list(world(federation__fraction_train=0.34, federation__patience=2, federation__rounds=6).run())
    apart = [
        (before.waited, after.waited)
        for (before, _), (after, report) in pairwise(ran)
        if not set(report.accepted) & set(before.best.scores)
    ]
    assert apart
    assert all(before == after for before, after in apart)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["fedavg", pytest.param("fedmedian", marks=pytest.mark.slow)])
def test_patience_counts_each_model_once(world: Callable[..., World], strategy: str) -> None:
    """North fails in every second round: the model does not change, and the round does not count."""
    settings = {"strategy__name": strategy, "federation__quorum": 3, "federation__patience": 3}
    here = world(**settings, federation__rounds=12, training__learning_rate=1e-9)
    ran = list(here.run(lambda site, round, reply: crashing(reply) if site == "north" and round % 2 else reply))
    assert [(report.void, progress.waited) for progress, report in ran] == [
        *[(True, 0), (False, 0), (True, 0), (False, 1)],
        *[(True, 1), (False, 2), (True, 2), (False, 3)],
    ]
    assert ran[-1][0].finished


@pytest.mark.slow
def test_one_hospital_that_lies_about_its_scores_does_not_choose_the_best_round(world: Callable[..., World]) -> None:
    """North claims its best scores in round 1: a mean over hospitals would keep the initial model."""

    def lie(site: str, round: int, reply: Message) -> Message:
        if site == "north":
            histogram = reply.content.array_records[TABLES]["referable_scores"].numpy()
            claimed = np.zeros_like(histogram)
            claimed[[0, 1], [0, -1] if round == 1 else [-1, 0]] = histogram.sum(axis=1)
            reply.content.array_records[TABLES]["referable_scores"] = vector(claimed, "claimed")["claimed"]
        return reply

    here = world(strategy__name="fedmedian", federation__quorum=3, federation__rounds=6, training__epochs=2)
    assert list(here.run(lie))[-1][0].best.round > 0


@pytest.mark.slow
def test_the_best_round_is_kept_and_patience_ends_a_run(world: Callable[..., World]) -> None:
    """From round 3 on, training makes the model worse: the learning rate is too large."""
    harmful = world(federation__rounds=12, federation__patience=2, training__epochs=2)
    steady = list(harmful.run())
    assert len(steady) < 13
    final = steady[-1][0]
    assert final.finished
    best = next(progress for progress, _ in steady if progress.round == final.best.round)
    assert final.best.weights.equal(best.weights)
