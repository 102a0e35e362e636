"""Federations of tiny hospitals on Flower's Grid."""

import gc
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from threading import Barrier

import pytest
from federated_world import NAMES, World, crashing, nan
from flwr.app import Array, Context, Error, Message, RecordDict

from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site
from teledx_fed.federation.in_process import InProcessGrid
from teledx_fed.federation.messages import PARAMETERS, STATISTICS, vector
from teledx_fed.federation.send_and_collect import named_sites
from teledx_fed.federation.simulation import federate
from teledx_fed.model.network import build
from teledx_fed.training.worker import Worker


@pytest.mark.slow
def test_a_federation_learns_and_reports_every_round(world: Callable[..., World]) -> None:
    ran = list(world(federation__rounds=6, training__epochs=2).run())
    reports = [report for _, report in ran]
    assert [report.round for report in reports] == [1, 2, 3, 4, 5, 6, 7]
    assert all(report.accepted == NAMES for report in reports)
    assert reports[-1].metrics["referable_auroc"] > 0.9 > reports[0].metrics["referable_auroc"]  # type: ignore[operator]
    assert all(report.bytes_up > report.bytes_down > 0 for report in reports[:-1])
    final = ran[-1][0]
    assert final.finished
    assert final.best.scores


def test_one_hospital_and_one_round_is_local_training(
    tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site], tmp_path: Path
) -> None:
    settings = tiny_settings(federation__rounds=1)
    alone = World(settings, [tiny_site("north")], tmp_path)
    (progress, _), _ = alone.run()
    expected = alone.worker.train(
        alone.sites["north"], alone.worker.initial, settings.local_training(1), round=1
    ).model.weights
    assert progress.weights.equal(expected)


@pytest.mark.slow
def test_the_order_of_sites_changes_no_bit(world: Callable[..., World]) -> None:
    forward, backward = world(), world()
    backward.sites = dict(reversed(backward.sites.items()))
    assert list(forward.run())[-1][0].weights.equal(list(backward.run())[-1][0].weights)


@pytest.mark.slow
def test_a_shuffled_federation_with_another_seed_differs(world: Callable[..., World]) -> None:
    assert not list(world(seed=1).run())[-1][0].weights.equal(list(world(seed=2).run())[-1][0].weights)


def zero_variance(reply: Message) -> Message:
    statistics = reply.content.array_records[STATISTICS][STATISTICS].numpy() * 0
    reply.content[STATISTICS] = vector(statistics, STATISTICS)
    return reply


def speechless(reply: Message) -> Message:
    return Message(error=Error(1, "disk full"), metadata=reply.metadata)


def empty(reply: Message) -> Message:
    reply.content = RecordDict()
    return reply


def wordless(reply: Message) -> Message:
    return None  # type: ignore[return-value]


def verbose(reply: Message) -> Message:
    return Message(error=Error(1, "\x1b[2Jlong" * 10_000), metadata=reply.metadata)


FAULTY = [nan, zero_variance, crashing, speechless, empty, wordless, verbose]
"""Replies with faults; the settings `faults` offer others."""


@pytest.mark.parametrize(
    "fault",
    [fault if fault in (nan, crashing) else pytest.param(fault, marks=pytest.mark.slow) for fault in FAULTY],
    ids=lambda fault: fault.__name__,
)
def test_no_faulty_reply_ends_a_run_or_reaches_the_model(
    fault: Callable[[Message], Message], world: Callable[..., World]
) -> None:
    """The weights equal those of a federation without the faulty site."""
    spoiled = world()
    ran = list(spoiled.run(lambda site, round, reply: fault(reply) if site == "north" else reply))
    without = world()
    del without.sites["north"]
    expected = list(without.run())
    assert [progress.round for progress, _ in ran] == [progress.round for progress, _ in expected]
    for (progress, report), (clean, _) in zip(ran[:-1], expected[:-1], strict=True):
        assert set(report.refused) == {"north"}
        assert "patient 7" not in json.dumps(report.refused)
        assert all(len(reason) <= 200 and reason.isprintable() for reason in report.refused.values())
        assert report.accepted == ("east", "west")
        assert progress.weights.equal(clean.weights)


def test_without_a_quorum_a_round_is_void_and_the_next_round_runs(world: Callable[..., World]) -> None:
    ran = list(
        world(federation__quorum=3, federation__rounds=3).run(
            lambda site, round, reply: nan(reply) if round == 2 and site == "east" else reply
        )
    )
    first, second, third, _ = (progress.weights for progress, _ in ran)
    assert second.equal(first)
    assert not third.equal(second)


def test_a_quorum_above_the_number_of_sites_is_refused(world: Callable[..., World]) -> None:
    with pytest.raises(ValueError, match=r"federation\.quorum must be at most the number of sites, got 4 of 3"):
        list(world(federation__quorum=4).run())
    with pytest.raises(ValueError, match=r"got 7 of 3\. bulyan needs 7 to tolerate strategy\.faulty=1: choose another"):
        list(world(federation__quorum=7, strategy__name="bulyan").run())


@pytest.mark.slow
def test_a_late_site_is_silent_and_the_round_ends_without_it(
    world: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("teledx_fed.federation.in_process.time.monotonic", lambda: now[0])

    def late(site: str, round: int, reply: Message) -> Message:
        now[0] += 61 if site == "north" and round == 1 else 59
        return reply

    reports = [report for _, report in world(federation__deadline_seconds=60).run(late)]
    assert reports[0].silent == ("north",)
    assert reports[0].accepted == ("east", "west")
    assert reports[1].accepted == NAMES


def test_two_sites_of_one_name_are_refused(world: Callable[..., World]) -> None:
    grid = InProcessGrid([lambda message, context: message], ["north", "north"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="sites must have names of their own"):
        named_sites(grid)


@pytest.mark.slow
def test_sites_are_sampled_by_the_seed(world: Callable[..., World]) -> None:
    chosen = [
        [report.accepted for _, report in world(seed=seed, federation__fraction_train=0.34, federation__rounds=5).run()]
        for seed in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]
    assert all(len(accepted) == 1 for accepted in chosen[0][:-1])
    assert len(set(chosen[0][:-1])) > 1


@pytest.mark.slow
@pytest.mark.parametrize("workers", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_the_number_of_workers_changes_no_bit(workers: int, world: Callable[..., World]) -> None:
    weights = []
    for number in (1, workers):
        here = world(model__batch_norm="local", training__augment=True)
        crew = [Worker(build(here.settings.model, here.settings.seed)) for _ in range(number)]
        folder = here.folder / str(number)
        federate(here.sites, crew, here.settings, folder)
        weights.append([(folder / f"{name}.safetensors").read_bytes() for name in ("model", "last")])
    assert weights[0] == weights[1]


def test_sites_train_in_parallel_and_answer_in_order() -> None:
    """Two sites wait for each other: if the grid ran one after the other, neither would answer."""
    met = Barrier(2, timeout=30)

    def meet(message: Message, context: Context) -> Message:
        met.wait()
        return Message(RecordDict(), reply_to=message)

    grid = InProcessGrid([meet, meet], ["a", "b", "c", "d"])  # type: ignore[list-item]
    sent = [Message(RecordDict(), dst_node_id=node, message_type="train") for node in grid.get_node_ids()]
    replies = list(grid.send_and_receive(sent))
    assert [reply.metadata.src_node_id for reply in replies] == list(grid.get_node_ids())
    assert not any(reply.has_error() for reply in replies)


@pytest.mark.slow
def test_no_reply_stays_in_memory_after_it_is_added(world: Callable[..., World]) -> None:
    """The memory of the server does not grow with the number of hospitals."""
    here, alive, most = world(federation__rounds=1), weakref.WeakSet[Array](), 0

    def watch(site: str, round: int, reply: Message) -> Message:
        nonlocal most
        if PARAMETERS in reply.content:
            alive.add(reply.content.array_records[PARAMETERS][PARAMETERS])
        gc.collect()
        most = max(most, len(alive))
        return reply

    here.sites = {f"{name}-{copy}": site for copy in range(2) for name, site in here.sites.items()}
    list(here.run(watch))
    assert most <= 2
