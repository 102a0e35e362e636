from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from teledx_fed.config.learning import ModelSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site
from teledx_fed.core.updates import LocalTraining
from teledx_fed.model.heads import HEADS
from teledx_fed.model.network import Grader, build, pack
from teledx_fed.training.inputs import FeatureInputs, PhotographInputs
from teledx_fed.training.local import Targets, learn

TRAINING = LocalTraining(
    epochs=1,
    batch_size=10,
    optimizer="sgd",
    learning_rate=0.1,
    weight_decay=0.0,
    momentum=0.0,
    class_balance="none",
    label_smoothing=0.0,
    proximal_mu=0.0,
    clip_norm=0.0,
    augment=False,
    views=0,
    mixed_precision=False,
    compression="none",
    seed=0,
)


@pytest.fixture
def site(tiny_site: Callable[..., Site]) -> Site:
    return tiny_site("north")


def network(**settings: object) -> Grader:
    return build(ModelSettings(name="test_efficientnet", initial="none", **settings), seed=0)  # type: ignore[arg-type]


def trained(site: Site, training: LocalTraining, *rounds: int, **settings: object) -> tuple[np.ndarray, list[float]]:
    """Return the parameters after `rounds` (by default, round 1), and the loss of each round."""
    learner = network(**settings)
    targets, inputs = (
        Targets.of(site.shard.train, learner.head_type),
        PhotographInputs(site.images, site.shard.train),
    )
    losses = [learn(learner, inputs, targets, training, site.name, round) for round in rounds or (1,)]
    return pack(learner, learner.layout).parameters, losses


def test_one_full_batch_step_of_the_head_is_gradient_descent(site: Site) -> None:
    learner = network(freeze="backbone")
    features = torch.randn(20, 256, generator=torch.Generator().manual_seed(1))
    targets = Targets.of(site.shard.train, HEADS["grade"])
    weight = learner.head.weight.detach().clone().requires_grad_()  # type: ignore[union-attr,operator]
    bias = learner.head.bias.detach().clone().requires_grad_()  # type: ignore[union-attr,operator]
    functional.cross_entropy(features @ weight.T + bias, targets.labels).backward()
    learn(
        learner,
        FeatureInputs(lambda view, index: features[index], 20),
        targets,
        replace(TRAINING, batch_size=20),
        "north",
        1,
    )
    torch.testing.assert_close(learner.head.weight.detach(), (weight - 0.1 * weight.grad).detach())
    torch.testing.assert_close(learner.head.bias.detach(), (bias - 0.1 * bias.grad).detach())


def test_the_same_round_gives_the_same_bits_and_another_does_not(site: Site) -> None:
    training = replace(TRAINING, augment=True, class_balance="sampling")
    first, again, other = (trained(site, training, round)[0] for round in (1, 1, 2))
    assert first.tobytes() == again.tobytes() != other.tobytes()


def test_the_reported_loss_is_that_of_the_first_epoch(site: Site) -> None:
    once, thrice = (trained(site, replace(TRAINING, epochs=epochs))[1] for epochs in (1, 3))
    assert once == thrice


def test_training_does_not_use_the_global_generator(site: Site) -> None:
    states = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002
    trained(site, replace(TRAINING, augment=True))
    assert torch.get_rng_state().equal(states[0])
    assert np.random.get_state()[1].tolist() == states[1]  # noqa: NPY002


SLOW = pytest.mark.slow


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("adam", marks=SLOW), pytest.param("sgd", marks=SLOW)])
@pytest.mark.parametrize("balance", ["weights", pytest.param("none", marks=SLOW), pytest.param("sampling", marks=SLOW)])
def test_training_lowers_the_loss(site: Site, optimizer: str, balance: str) -> None:
    rate = 0.02 if optimizer == "sgd" else 0.002
    training = replace(TRAINING, epochs=7, optimizer=optimizer, class_balance=balance, learning_rate=rate)
    _, (first, _, last) = trained(site, training, 1, 2, 3)
    assert last < 0.8 * first


@pytest.mark.slow
def test_a_larger_mu_keeps_the_weights_nearer_to_the_start(site: Site) -> None:
    start = pack(network(), network().layout).parameters
    training = replace(TRAINING, epochs=3)
    distance = {
        mu: np.linalg.norm(trained(site, replace(training, proximal_mu=mu))[0] - start) for mu in (0.0, 0.5, 5.0)
    }
    assert distance[0.0] > distance[0.5] > distance[5.0] > 0


def test_the_proximal_term_is_the_squared_norm(site: Site) -> None:
    """Two full-batch steps by hand: its gradient is 0 at the start, and μ·(−ηg) after one step with gradient g."""
    learner = network(freeze="backbone")
    features = torch.randn(20, 256, generator=torch.Generator().manual_seed(1))
    targets = Targets.of(site.shard.train, HEADS["grade"])
    start = torch.cat([learner.head.weight, learner.head.bias[:, None]], 1).detach()  # type: ignore[union-attr,list-item,index]
    design = torch.cat([features, torch.ones(20, 1)], 1)
    hand = start.clone()
    for _ in range(2):
        hand.requires_grad_()
        (gradient,) = torch.autograd.grad(functional.cross_entropy(design @ hand.T, targets.labels), hand)
        hand = (hand - 0.1 * (gradient + 0.7 * (hand - start))).detach()
    learn(
        learner,
        FeatureInputs(lambda view, index: features[index], 20),
        targets,
        replace(TRAINING, epochs=2, batch_size=20, proximal_mu=0.7),
        "n",
        1,
    )
    torch.testing.assert_close(learner.head.weight.detach(), hand[:, :-1])


def test_clipping_bounds_the_step(site: Site) -> None:
    start = pack(network(), network().layout).parameters
    training = replace(TRAINING, batch_size=20, clip_norm=0.01)
    assert np.linalg.norm(trained(site, training)[0] - start) <= 0.1 * 0.01 * 1.001


def test_class_weights_give_every_class_the_same_total(site: Site) -> None:
    examples = [*site.shard.train, *[e for e in site.shard.train if e.grade == 0] * 5]
    targets = Targets.of([e for e in examples if e.grade != 3], HEADS["grade"])
    totals = torch.bincount(targets.labels, minlength=5) * targets.balance
    assert totals[3] == 0
    assert totals[[0, 1, 2, 4]].std() < 1e-4 * totals[0]
    assert targets.balance[targets.labels].mean() == pytest.approx(1)


def test_a_site_without_labels_does_not_change_the_oedema_head(tiny_site: Callable[..., Site]) -> None:
    for label, expected in ((None, False), (True, True)):
        site, learner = tiny_site("north", oedema=label), network(oedema=True)
        before = learner.oedema.weight.detach().clone()  # type: ignore[union-attr]
        targets = Targets.of(site.shard.train, HEADS["grade"])
        learn(learner, PhotographInputs(site.images, site.shard.train), targets, TRAINING, "north", 1)
        assert (not learner.oedema.weight.equal(before)) is expected  # type: ignore[union-attr]


@pytest.mark.slow
def test_the_seed_head_learns_referable_or_not(site: Site) -> None:
    training = replace(TRAINING, epochs=8, optimizer="adam", learning_rate=1e-2)
    assert trained(site, training, 1, 2, head="referable")[1][-1] < 0.5 * np.log(2)


def test_no_batch_has_one_example(site: Site, tiny_settings: Callable[..., Settings]) -> None:
    twenty_one = Site("north", replace(site.shard, train=(*site.shard.train, site.shard.train[0])), site.images)
    trained(twenty_one, TRAINING)
