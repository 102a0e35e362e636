from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp.strategy import FedAvg
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from teledx_fed.federation.in_process import InProcessGrid
from teledx_fed.federation.messages import PARAMETERS, vector
from teledx_fed.federation.strategies import (
    EVERY_SAMPLED_NODE,
    STRATEGIES,
    Fold,
    aggregate,
    configure,
    remembered,
    remind,
)
from teledx_fed.records import LocalUpdate
from teledx_fed.settings import Settings
from teledx_fed.weights import Layout, Weights

PLAIN = Layout((("head.weight", (4,)),), (("bn.running_var", (2,)),))
OEDEMA = Layout((("head.weight", (2,)), ("oedema.weight", (1,)), ("oedema.bias", (1,))), ())
NODES = {2: "north", 3: "south"}


@pytest.fixture(autouse=True)
def grid() -> None:
    InProcessGrid([lambda message, context: message], list(NODES.values()))  # type: ignore[list-item]


def weights(values: list[float], layout: Layout = PLAIN, statistics: list[float] = [1, 1]) -> Weights:  # noqa: B006
    return Weights(np.float32(values), np.float32(statistics if layout is PLAIN else []), layout)


def update(values: list[float], examples: int, layout: Layout = PLAIN, oedema: int = 0, **rest: object) -> LocalUpdate:
    return LocalUpdate(1, weights(values, layout, **rest), examples, oedema, 0.5, {})  # type: ignore[arg-type]


def stepped(strategy: FedAvg, start: Weights, updates: list[LocalUpdate], weighting: str, round: int = 1) -> Weights:
    sent = configure(strategy, round, start, ConfigRecord({}), NODES)
    fold = Fold(start, weighting)
    for update in updates:
        fold.add(update)
    return aggregate(strategy, round, fold, start, sent[0])


def test_fedavg_weighs_as_it_is_told(tiny_settings: Callable[..., Settings]) -> None:
    """Of 9 and 1 examples: weights .9 and .1; by square root .75 and .25; equal .5 and .5."""
    updates = [update([0] * 4, 9, statistics=[1, 1]), update([4] * 4, 1, statistics=[5, 5])]
    for weighting, expected in (("examples", 0.4), ("sqrt", 1.0), ("equal", 2.0)):
        found = stepped(STRATEGIES["fedavg"](tiny_settings()), weights([1] * 4), updates, weighting)
        assert found.parameters.tolist() == pytest.approx([expected] * 4)
        assert found.statistics.tolist() == pytest.approx([1 + expected] * 2)


vectors = arrays(np.float32, 4, elements=st.floats(-10, 10, width=32))


@given(st.lists(st.tuples(vectors, st.integers(1, 1000)), min_size=1, max_size=6))
def test_our_fold_is_flowers_own_aggregation(sent: list[tuple[np.ndarray, int]]) -> None:
    start, flower, ours = weights([0] * 4), FedAvg(**EVERY_SAMPLED_NODE), FedAvg(**EVERY_SAMPLED_NODE)
    carrier = configure(flower, 1, start, ConfigRecord({}), NODES)[0]
    replies = [
        Message(
            RecordDict(
                {
                    PARAMETERS: vector(values, PARAMETERS),
                    "metrics": MetricRecord({"num-examples": count, "train_loss": 0.5}),
                }
            ),
            reply_to=carrier,
        )
        for values, count in sent
    ]
    expected, _ = flower.aggregate_train(1, replies)
    assert expected is not None
    found = stepped(ours, start, [update(values.tolist(), count) for values, count in sent], "examples")
    np.testing.assert_allclose(found.parameters, expected[PARAMETERS].numpy(), rtol=1e-4, atol=1e-5)


def test_fedadam_by_hand(tiny_settings: Callable[..., Settings]) -> None:
    """Reddi et al. 2021, algorithm 2, with Flower's bias correction: two rounds of delta 1 and 0.5."""
    settings = tiny_settings(strategy__name="fedadam", strategy__server_learning_rate=0.1)
    strategy, x, m, v = STRATEGIES["fedadam"](settings), 1.0, 0.0, 0.0
    found = weights([x] * 4)
    for round, delta in ((1, 1.0), (2, 0.5)):
        found = stepped(strategy, found, [update([x + delta] * 4, 5)], "examples", round)
        m, v = 0.9 * m + 0.1 * delta, 0.99 * v + 0.01 * delta**2
        rate = 0.1 * np.sqrt(1 - 0.99 ** (round + 1)) / (1 - 0.9 ** (round + 1))
        x = x + rate * m / (np.sqrt(v) + 1e-3)
        assert found.parameters.tolist() == pytest.approx([x] * 4, rel=1e-5)
        x = float(found.parameters[0])


def test_an_adaptive_step_never_touches_statistics(tiny_settings: Callable[..., Settings]) -> None:
    strategy = STRATEGIES["fedadam"](tiny_settings(strategy__name="fedadam"))
    updates = [update([1] * 4, 1, statistics=[2, 4]), update([1] * 4, 3, statistics=[6, 8])]
    assert stepped(strategy, weights([0] * 4), updates, "examples").statistics.tolist() == [5, 7]


def test_what_a_strategy_remembers_is_all_that_it_needs(tiny_settings: Callable[..., Settings]) -> None:
    settings = tiny_settings(strategy__name="fedadam")
    lasting, start = STRATEGIES["fedadam"](settings), weights([0] * 4)
    middle = stepped(lasting, start, [update([1, 2, 3, 4], 5)], "examples", 1)
    memory = remembered(lasting, "fedadam")
    assert set(memory) == {"m_t", "v_t"}
    expected = stepped(lasting, middle, [update([2, 2, 2, 2], 5)], "examples", 2)
    fresh = STRATEGIES["fedadam"](settings)
    remind(fresh, memory)
    assert stepped(fresh, middle, [update([2, 2, 2, 2], 5)], "examples", 2).equal(expected)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_site_without_oedema_labels_moves_that_output_by_exactly_nothing(
    strategy: str, tiny_settings: Callable[..., Settings]
) -> None:
    settings = tiny_settings(strategy__name=strategy, training__proximal_mu=0.1)
    start = weights([0, 0, 0.3, 0.7], OEDEMA)
    labelled = update([1, 1, 0.1, 0.9], 10, OEDEMA, oedema=7)
    unlabelled = update([3, 3, 123.4, -5.6], 90, OEDEMA, oedema=0)
    alone = stepped(STRATEGIES[strategy](settings), start, [labelled], "examples")
    together = stepped(STRATEGIES[strategy](settings), start, [labelled, unlabelled], "examples")
    assert together.parameters[2:].tobytes() == alone.parameters[2:].tobytes()
    assert together.parameters[0] != alone.parameters[0]


def test_oedema_is_averaged_by_labelled_counts(tiny_settings: Callable[..., Settings]) -> None:
    updates = [update([0, 0, 0, 0], 99, OEDEMA, oedema=1), update([4, 4, 4, 4], 3, OEDEMA, oedema=3)]
    found = stepped(STRATEGIES["fedavg"](tiny_settings()), weights([0] * 4, OEDEMA), updates, "examples")
    assert found.parameters[2:].tolist() == [3, 3]
    none = [update([9, 9, 9, 9], 5, OEDEMA), update([4, 4, 4, 4], 3, OEDEMA)]
    start = weights([0, 0, 0.3, 0.7], OEDEMA)
    kept = stepped(STRATEGIES["fedavg"](tiny_settings()), start, none, "examples")
    assert kept.parameters[2:].tobytes() == start.parameters[2:].tobytes()


def test_flower_samples_all_the_nodes_that_we_sampled(tiny_settings: Callable[..., Settings]) -> None:
    for name, make in STRATEGIES.items():
        strategy = make(tiny_settings(strategy__name=name, training__proximal_mu=0.1))
        sent = configure(strategy, 1, weights([0] * 4), ConfigRecord({}), NODES)
        assert sorted(message.metadata.dst_node_id for message in sent) == sorted(NODES)
