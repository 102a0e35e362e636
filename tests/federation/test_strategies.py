"""Averaging, adaptive and fair strategies, by hand and against Flower's own."""

from collections.abc import Callable
from dataclasses import replace

import hypothesis
import numpy as np
import pytest
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import strategy as flower
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from strategy_steps import FAR_OFF, OEDEMA, Server, settings_for, stepped, update, weights

from teledx_fed.config.federation import STRATEGIES as NAMES
from teledx_fed.config.federation import StrategySettings
from teledx_fed.config.loading import CONF
from teledx_fed.config.settings import Settings
from teledx_fed.core.updates import GlobalModel
from teledx_fed.federation.in_process import InProcessGrid
from teledx_fed.federation.messages import PARAMETERS, values, vector
from teledx_fed.federation.strategies.flower import objects_frozen
from teledx_fed.federation.strategies.registry import STRATEGIES, strategy_of

NODES = {2: "north", 3: "south"}


AVERAGING = [name for name, kind in STRATEGIES.items() if kind.averages_oedema]


def test_fedavg_weighs_sites_by_the_setting(tiny_settings: Callable[..., Settings]) -> None:
    """For 9 and 1 examples, the weights are 0.9 and 0.1; by square root 0.75 and 0.25; equal 0.5 and 0.5."""
    updates = [update([0] * 4, 9, statistics=[1, 1]), update([4] * 4, 1, statistics=[5, 5])]
    for weighting, expected in (("examples", 0.4), ("sqrt", 1.0), ("equal", 2.0)):
        result = stepped(tiny_settings(strategy__weighting=weighting), weights([1] * 4), updates)
        assert result.parameters.tolist() == pytest.approx([expected] * 4)
        assert result.statistics.tolist() == pytest.approx([1 + expected] * 2)


vectors = arrays(np.float32, 4, elements=st.floats(-10, 10, width=32))


class Nodes:
    """The part of a grid that Flower's strategies use."""

    def get_node_ids(self) -> list[int]:
        return list(NODES)


FLOWER: dict[str, Callable[..., flower.FedAvg]] = {
    "fedavg": lambda chosen, **keys: flower.FedAvg(**keys),
    "fedavgm": lambda chosen, **keys: flower.FedAvgM(
        server_learning_rate=chosen.server_learning_rate, server_momentum=chosen.momentum, **keys
    ),
    "fedadam": lambda chosen, **keys: flower.FedAdam(
        eta=chosen.server_learning_rate, tau=chosen.tau, beta_1=chosen.beta_1, beta_2=chosen.beta_2, **keys
    ),
    "fedyogi": lambda chosen, **keys: flower.FedYogi(
        eta=chosen.server_learning_rate, tau=chosen.tau, beta_1=chosen.beta_1, beta_2=chosen.beta_2, **keys
    ),
    "fedadagrad": lambda chosen, **keys: flower.FedAdagrad(eta=chosen.server_learning_rate, tau=chosen.tau, **keys),
    "qfedavg": lambda chosen, **keys: flower.QFedAvg(q=chosen.q, client_learning_rate=1 / chosen.lipschitz, **keys),
}
"""Flower's version of the strategies that this project implements itself."""


def flowers(
    strategy: flower.FedAvg, round: int, start: np.ndarray, sent: list[tuple[np.ndarray, float, float]]
) -> np.ndarray:
    """Return Flower's next parameters, from the parameters, weight and loss of each client."""
    record = vector(start, PARAMETERS)
    carrier, *_ = strategy.configure_train(round, record, ConfigRecord({}), Nodes())  # type: ignore[arg-type]
    replies = [
        Message(
            RecordDict(
                {
                    PARAMETERS: vector(parameters, PARAMETERS),
                    "metrics": MetricRecord({"num-examples": weight, "train_loss": loss}),
                }
            ),
            reply_to=carrier,
        )
        for parameters, weight, loss in sent
    ]
    with objects_frozen():
        stepped, _ = strategy.aggregate_train(round, replies)
    assert isinstance(stepped, ArrayRecord)
    return values(stepped[PARAMETERS]).astype(np.float32)


@given(st.lists(st.tuples(vectors, st.integers(1, 1000)), min_size=1, max_size=6))
def test_the_mean_equals_flowers_aggregation(sent: list[tuple[np.ndarray, int]]) -> None:
    InProcessGrid([], list(NODES.values()))
    expected = flowers(
        flower.FedAvg(min_available_nodes=1),
        1,
        np.zeros(4, np.float32),
        [(numbers, count, 0.5) for numbers, count in sent],
    )
    ours = stepped(Settings(), weights([0] * 4), [update(numbers.tolist(), count) for numbers, count in sent])
    np.testing.assert_allclose(ours.parameters, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FLOWER)
@hypothesis.settings(max_examples=20)
@given(st.lists(vectors, min_size=4, max_size=4), st.floats(0.05, 2), st.floats(0, 0.95))
def test_server_steps_are_bit_identical_to_flowers(
    name: str, sent: list[np.ndarray], rate: float, momentum: float
) -> None:
    """Four rounds with one update each; round 3 is void, so it has no step."""
    InProcessGrid([], list(NODES.values()))
    chosen = StrategySettings(
        name=name, server_learning_rate=rate, momentum=momentum, beta_1=momentum, q=rate, lipschitz=1 + rate
    )
    server = Server(Settings(strategy=chosen), weights([1, -2, 0.5, 3]))
    reference = FLOWER[name](chosen, arrayrecord_key=PARAMETERS, min_available_nodes=1)
    for round, numbers in zip((1, 2, 4, 5), sent, strict=True):
        expected = flowers(reference, round, server.weights.parameters, [(numbers, 7.0, 0.5)])
        ours = server.step([replace(update([0] * 4, 7), weights=weights(numbers.tolist()))], round)
        assert ours.parameters.tobytes() == (expected + np.float32(0)).tobytes()


def test_server_momentum_is_that_of_sgd(tiny_settings: Callable[..., Settings]) -> None:
    """Hsu et al. 2019: the mean update is the negative gradient. torch.optim.SGD is the reference."""
    settings = settings_for(tiny_settings, "fedavgm", strategy__momentum=0.8, strategy__server_learning_rate=0.5)
    server = Server(settings, weights([1, -2, 3, 0]))
    reference = torch.tensor(server.weights.parameters, requires_grad=True)
    optimizer = torch.optim.SGD([reference], lr=0.5, momentum=0.8)
    for round, difference in enumerate(([1, 0, 2, -1], [0.5, 0.5, 0, 0], [-1, 2, 1, 3]), start=1):
        reference.grad = -torch.tensor(difference, dtype=torch.float32)
        result = server.step([update((server.weights.parameters + np.float32(difference)).tolist(), 5)], round)
        optimizer.step()
        np.testing.assert_allclose(result.parameters, reference.detach().numpy(), rtol=1e-5)


@pytest.mark.parametrize("name", ["fedadam", "fedyogi", "fedadagrad"])
def test_an_adaptive_server_by_hand(name: str, tiny_settings: Callable[..., Settings]) -> None:
    """Reddi et al. 2021, algorithm 2, FedAdam with Flower's bias correction: three rounds with one update each."""
    settings = settings_for(tiny_settings, name, strategy__server_learning_rate=0.1)
    x, m, v = 1.0, 0.0, 0.0
    server = Server(settings, weights([x] * 4))
    for round, delta in ((1, 1.0), (2, 0.5), (3, -0.2)):
        result = server.step([update([x + delta] * 4, 5)], round)
        rate, m = 0.1, 0.9 * m + 0.1 * delta
        match name:
            case "fedadam":
                v = 0.99 * v + 0.01 * delta**2
                rate *= np.sqrt(1 - 0.99 ** (round + 1)) / (1 - 0.9 ** (round + 1))
            case "fedyogi":
                v = v - 0.01 * delta**2 * np.sign(v - delta**2)
            case "fedadagrad":
                m, v = delta, v + delta**2
        x = x + rate * m / (np.sqrt(v) + 1e-3)
        assert result.parameters.tolist() == pytest.approx([x] * 4, rel=1e-5)
        x = float(result.parameters[0])


def test_q_fedavg_by_hand(tiny_settings: Callable[..., Settings]) -> None:
    """Li et al. 2020, algorithm 2: w − Σ F^q Δ ÷ Σ (q F^(q−1) ‖Δ‖² + L F^q), where Δ is L (w − w_k)."""
    settings = settings_for(tiny_settings, "qfedavg", strategy__q=2.0, strategy__lipschitz=4.0)
    start, sent = np.float64([1, 2, 3, 4]), (([2, 2, 3, 4], 0.5), ([1, 0, 3, 5], 1.5))
    up, down = np.zeros(4), 0.0
    for parameters, loss in sent:
        gradient = 4.0 * (start - parameters)
        up = up + loss**2 * gradient
        down += 2 * loss * (gradient**2).sum() + 4 * loss**2
    updates = [replace(update(parameters, 5), train_loss=loss) for parameters, loss in sent]
    result = stepped(settings, weights(start.tolist()), updates)
    np.testing.assert_allclose(result.parameters, start - up / down, rtol=1e-5)


def test_q_fedavg_steps_with_a_loss_of_zero(tiny_settings: Callable[..., Settings]) -> None:
    """A loss is rounded to hundredths: the strategy replaces 0 by 0.005, not by almost 0."""
    settings = settings_for(tiny_settings, "qfedavg")
    result = stepped(settings, weights([0] * 4), [replace(update([1] * 4, 5), train_loss=0.0)])
    assert result.parameters[0] > 0.01


@pytest.mark.parametrize("name", STRATEGIES)
def test_results_are_bit_identical_for_any_order_of_replies(name: str, tiny_settings: Callable[..., Settings]) -> None:
    strategy, start = strategy_of(settings_for(tiny_settings, name)), weights([0.1, 0.2, 0.3, 0.4])
    updates = [(str(i), update((np.float32(numbers) / 7).tolist(), 1 + i)) for i, numbers in enumerate(FAR_OFF)]
    results = []
    for order in (updates, updates[::-1]):
        accumulator = strategy.accumulator(GlobalModel(1, start, 0))
        for site, sent in order:
            accumulator.add(site, sent)
        results.append(strategy.step({}, accumulator.aggregate())[0])
    assert results[0].equal(results[1])


def test_q_fedavg_gives_statistics_equal_weights(tiny_settings: Callable[..., Settings]) -> None:
    updates = [update([1] * 4, 1, statistics=[2, 4]), update([1] * 4, 1_000_000, statistics=[6, 8])]
    assert stepped(settings_for(tiny_settings, "qfedavg"), weights([0] * 4), updates).statistics.tolist() == [4, 6]


@pytest.mark.parametrize("name", ["fedavgm", "fedadam", "fedyogi", "fedadagrad"])
def test_a_server_step_never_touches_statistics(name: str, tiny_settings: Callable[..., Settings]) -> None:
    updates = [update([1] * 4, 1, statistics=[2, 4]), update([1] * 4, 3, statistics=[6, 8])]
    assert stepped(settings_for(tiny_settings, name), weights([0] * 4), updates).statistics.tolist() == [5, 7]


STATES = {"fedavgm": {"momentum_vector"}, **{name: {"m_t", "v_t"} for name in ("fedadam", "fedyogi", "fedadagrad")}}
"""State of each strategy in a checkpoint."""


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_state_is_all_that_a_step_needs(name: str, tiny_settings: Callable[..., Settings]) -> None:
    settings = settings_for(tiny_settings, name)
    lasting = Server(settings, weights([0] * 4))
    for round in (1, 2):
        lasting.step([update([1, 2, 3, 4 * round], 5)] * 7, round)
    assert set(lasting.state) == STATES.get(name, set())
    resumed = Server(settings, lasting.weights, lasting.state)
    last = [update([2, 2, 2, 2], 5)] * 7
    assert resumed.step(last, 3).equal(lasting.step(last, 3))


@pytest.mark.parametrize("strategy", AVERAGING)
def test_a_site_without_oedema_labels_does_not_change_the_oedema_output(
    strategy: str, tiny_settings: Callable[..., Settings]
) -> None:
    settings = settings_for(tiny_settings, strategy, training__proximal_mu=0.1)
    start = weights([0, 0, 0.3, 0.7], OEDEMA)
    labelled = update([1, 1, 0.1, 0.9], 10, OEDEMA, oedema=7)
    unlabelled = update([3, 3, 123.4, -5.6], 90, OEDEMA, oedema=0)
    alone = stepped(settings, start, [labelled])
    together = stepped(settings, start, [labelled, unlabelled])
    assert together.parameters[2:].tobytes() == alone.parameters[2:].tobytes()
    assert together.parameters[0] != alone.parameters[0]


def test_oedema_is_averaged_by_labelled_counts(tiny_settings: Callable[..., Settings]) -> None:
    updates = [update([0, 0, 0, 0], 99, OEDEMA, oedema=1), update([4, 4, 4, 4], 3, OEDEMA, oedema=3)]
    result = stepped(tiny_settings(), weights([0] * 4, OEDEMA), updates)
    assert result.parameters[2:].tolist() == [3, 3]
    none = [update([9, 9, 9, 9], 5, OEDEMA), update([4, 4, 4, 4], 3, OEDEMA)]
    start = weights([0, 0, 0.3, 0.7], OEDEMA)
    kept = stepped(tiny_settings(), start, none)
    assert kept.parameters[2:].tobytes() == start.parameters[2:].tobytes()


def test_conf_has_a_file_for_every_strategy() -> None:
    """The tests of all choices check that each composes."""
    assert {file.stem for file in (CONF / "strategy").glob("*.yaml")} == set(STRATEGIES) == set(NAMES)
