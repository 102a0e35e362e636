"""False claims of one site: examples, perfect scores, the size of its first update, and the best round."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from federated_world import World
from flwr.app import Message, MetricRecord
from hypothesis import given
from hypothesis import strategies as st

from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Example, Site
from teledx_fed.core.reports import RoundReport
from teledx_fed.core.updates import LocalUpdate, Tables
from teledx_fed.core.weights import Layout, Weights
from teledx_fed.evaluation.predictions import predictions
from teledx_fed.evaluation.tables import table
from teledx_fed.federation.aggregation import UpdateBuffer
from teledx_fed.federation.checkpoint import Scored, begin, read, write
from teledx_fed.federation.messages import METRICS, PARAMETERS, TABLES, arrays, values, vector
from teledx_fed.federation.replies import ValidUpdate
from teledx_fed.federation.scoring import choose, trimmed_mean
from teledx_fed.federation.strategies.registry import strategy_of

NAMES = ("east", "north", "west")
LAYOUT = Layout((("head.weight", (2, 3)),), (("bn.running_mean", (2,)), ("bn.running_var", (2,))))
START = Weights(np.zeros(6, np.float32), np.array([0, 0, 1, 1], np.float32), LAYOUT)

Spoil = Callable[[Message], Message]


def claiming(examples: int) -> Spoil:
    def spoil(reply: Message) -> Message:
        metrics = dict(reply.content.metric_records[METRICS])
        reply.content[METRICS] = MetricRecord({**metrics, "examples": examples})
        return reply

    return spoil


def perfect(reply: Message) -> Message:
    """Multiply the score table of the site by a million."""
    more = {name: values(table) * 1_000_000 for name, table in reply.content.array_records[TABLES].items()}
    reply.content[TABLES] = arrays(more)
    return reply


def moved_by(norm: float) -> Spoil:
    def spoil(reply: Message) -> Message:
        parameters = values(reply.content.array_records[PARAMETERS][PARAMETERS]).copy()
        parameters[0] += norm
        reply.content[PARAMETERS] = vector(parameters, PARAMETERS)
        return reply

    return spoil


@pytest.fixture
def run(
    tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site], tmp_path: Path
) -> Callable[..., tuple[Weights, RoundReport]]:
    """Run one round; return its weights and report. `spoil` changes the replies of north."""

    def first_round(spoil: Spoil | None = None, names: Sequence[str] = NAMES) -> tuple[Weights, RoundReport]:
        world = World(tiny_settings(federation__rounds=1), [tiny_site(name, 5) for name in names], tmp_path)
        rewrite = None if spoil is None else lambda site, round, reply: spoil(reply) if site == "north" else reply
        progress, report = next(world.run(rewrite))
        return progress.weights, report

    return first_round


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (claiming(1_000_000), "examples must lie in 1…30, got 1000000"),
        pytest.param(claiming(21), "got 21 and 10", marks=pytest.mark.slow),
        (perfect, "tables.eyes must lie in 1…30"),
        (moved_by(990), "parameters must move by at most"),
    ],
    ids=["a million examples", "validation eyes as examples", "a million perfect eyes", "a norm of 990"],
)
def test_a_false_claim_is_refused_and_the_model_equals_one_without_that_site(
    spoil: Spoil, reason: str, run: Callable[..., tuple[Weights, RoundReport]]
) -> None:
    weights, report = run(spoil)
    assert reason in report.refused["north"]
    assert report.accepted == ("east", "west")
    without, _ = run(names=["east", "west"])
    assert weights.equal(without)


def test_a_site_declares_once_for_a_run_that_is_resumed(run: object, tmp_path: Path) -> None:
    progress = replace(begin(START), round=3, declared={"north": 40})
    write(progress, tmp_path / "checkpoint")
    assert read(tmp_path / "checkpoint", LAYOUT).declared == {"north": 40}


distances = st.lists(st.floats(0.01, 1000), min_size=3, max_size=9)


@given(distances, st.integers(0, 8))
def test_updates_of_the_first_round_are_bounded_by_their_median(norms: list[float], liar: int) -> None:
    """If honest norms differ by at most 10 times, one false norm does not make the server refuse an honest site."""
    multiple = 10.0
    buffer = UpdateBuffer(Path(), START)
    buffer._updates = {f"site-{n}": valid(norm) for n, norm in enumerate(norms)}
    refused = buffer.too_far(multiple)
    assert set(refused) == {f"site-{n}" for n, norm in enumerate(norms) if norm > multiple * float(np.median(norms))}
    honest = [norm for n, norm in enumerate(norms) if n != liar % len(norms)]
    if max(honest) <= multiple * min(honest):
        assert set(refused) <= {f"site-{liar % len(norms)}"}


def valid(norm: float, weights: Weights = START) -> ValidUpdate:
    return ValidUpdate(LocalUpdate(1, weights, 10, 0, 0.5, {}), (norm, 0.0))


def test_updates_of_the_first_round_are_read_back_from_disk_unchanged(tmp_path: Path) -> None:
    drawn = np.random.default_rng(0)
    sent = {
        name: Weights(drawn.standard_normal(6).astype("f4"), drawn.random(4).astype("f4"), LAYOUT) for name in NAMES
    }
    buffer = UpdateBuffer(tmp_path, START)
    for name, weights in sent.items():
        buffer.add(name, valid(1.0, weights))
    assert all(waiting.update.weights is START for waiting in buffer._updates.values())
    back = {name: valid.update.weights for name, valid in buffer.read()}
    assert all(back[name].equal(weights) for name, weights in sent.items())


def scored(accuracy: float) -> Tables:
    """Return the score table of 40 eyes, of which the share `accuracy` has the correct score."""
    examples = [Example(None, 4 * (n % 2), str(n)) for n in range(40)]  # type: ignore[arg-type]
    truth = np.arange(40) % 2
    called = np.where(np.arange(40) < 40 * accuracy, truth, 1 - truth)
    predicted = predictions(examples, np.eye(5)[4 * called])
    return table(predicted, predicted.referable_score >= 0.5, min_patients=1)


@pytest.mark.parametrize("strategy", ["fedavg", "fedmedian"])
def test_one_site_that_lies_about_its_scores_does_not_choose_the_best_round(
    strategy: str, tiny_settings: Callable[..., Settings]
) -> None:
    """East and west improve a little, north claims a collapse: by the mean, the earlier model would stay the best."""
    settings = tiny_settings(strategy__name=strategy, federation__quorum=3)
    tolerated = strategy_of(settings).max_byzantine
    earlier = Scored(1, START, dict.fromkeys(NAMES, 0.7))
    progress = replace(begin(START), round=2, trained_in=2, best=earlier)
    after, _ = choose(
        progress,
        {"east": scored(0.8), "west": scored(0.8), "north": scored(0.0)},
        settings.federation,
        tolerated,
        void=False,
    )
    assert after.best.round == 2
    worse, _ = choose(
        progress,
        {"east": scored(0.6), "west": scored(0.6), "north": scored(1.0)},
        settings.federation,
        tolerated,
        void=False,
    )
    assert worse.best.round == 1


gains = st.floats(-1, 1)


@given(st.lists(gains, min_size=3, max_size=12), st.integers(1, 5), st.data())
def test_a_trimmed_mean_stays_among_the_honest_values(honest: list[float], trim: int, drawn: st.DataObject) -> None:
    liars = drawn.draw(st.lists(gains, max_size=min(trim, len(honest) - 1)))
    assert min(honest) - 1e-9 <= trimmed_mean([*honest, *liars], trim) <= max(honest) + 1e-9


def test_a_trimmed_mean_of_three_or_four_values_is_their_median() -> None:
    assert trimmed_mean([3.0, -9.0, 1.0], 1) == 1.0
    assert trimmed_mean([3.0, -9.0, 1.0, 2.0], 2) == 1.5
    assert trimmed_mean([5.0, -9.0, 1.0, 2.0, 3.0], 1) == 2.0
