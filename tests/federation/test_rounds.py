"""Federations of tiny hospitals on Flower's Grid."""

import gc
import json
import weakref
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from federated_world import World
from flwr.app import Array, Context, Error, Message, RecordDict
from reporters import RecordingReporter

from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site
from teledx_fed.core.reports import RoundReport
from teledx_fed.core.updates import GlobalModel
from teledx_fed.evaluation.cross_site import compare
from teledx_fed.federation import checkpoint
from teledx_fed.federation.checkpoint import Progress, begin
from teledx_fed.federation.in_process import InProcessGrid
from teledx_fed.federation.messages import PARAMETERS, STATISTICS, TABLES, vector
from teledx_fed.federation.scoring import ask_for_scores
from teledx_fed.federation.send_and_collect import named_sites
from teledx_fed.federation.simulation import federate
from teledx_fed.federation.site import Hospital, client_app
from teledx_fed.model.network import build
from teledx_fed.training.evaluate import evaluate
from teledx_fed.training.worker import SiteModel, Worker

NAMES = ("east", "north", "west")


@pytest.fixture
def world(
    tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site], tmp_path: Path
) -> Callable[..., World]:
    def make(**overrides: object) -> World:
        sites = [tiny_site(name, patients) for name, patients in zip(NAMES, (5, 10, 15), strict=True)]
        return World(tiny_settings(**overrides), sites, tmp_path)

    return make


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


def nan(reply: Message) -> Message:
    values = reply.content.array_records[PARAMETERS][PARAMETERS].numpy().copy()
    values[3] = np.nan
    reply.content[PARAMETERS] = vector(values, PARAMETERS)
    return reply


def zero_variance(reply: Message) -> Message:
    statistics = reply.content.array_records[STATISTICS][STATISTICS].numpy() * 0
    reply.content[STATISTICS] = vector(statistics, STATISTICS)
    return reply


def crashing(reply: Message) -> Message:
    raise RuntimeError("the photograph of patient 7 is broken")


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
def test_a_void_round_leaves_local_statistics_with_the_weights_they_belong_to(world: Callable[..., World]) -> None:
    """Round 3 starts from the weights and the statistics of round 1, although the sites ran round 2."""

    def voided(site: str, round: int, reply: Message) -> Message:
        return nan(reply) if round == 2 else reply

    settings = {"model__batch_norm": "local", "federation__rounds": 3, "federation__quorum": 3}
    here = world(**settings)
    _, second, third, _ = (progress for progress, _ in here.run(voided))
    assert second.trained_in == 1
    for name in NAMES:
        (here.folder / "sites" / name / "statistics" / "2.npy").unlink()
    again = next(here.run(start=second))[0]
    assert again.weights.equal(third.weights)


def test_a_hospital_tests_one_model_and_no_other(world: Callable[..., World]) -> None:
    here = world()
    final = list(here.run())[-1][0]
    hospital = Hospital(here.sites["north"], here.worker, here.settings, here.folder / "sites" / "north")
    grid = InProcessGrid([client_app(lambda context: hospital)], ["north"])
    (first, _), (again, _) = (ask_for_scores(grid, model_of(final), "test", here.settings, {}) for _ in range(2))
    assert first.accepted
    assert again.accepted
    other = replace(final, weights=here.worker.initial.weights)
    assert ask_for_scores(grid, model_of(other), "test", here.settings, {})[0].refused == {"north": "ValueError"}
    assert ask_for_scores(grid, model_of(other), "validation", here.settings, {})[0].accepted


def model_of(progress: Progress) -> GlobalModel:
    return GlobalModel(progress.round, progress.weights, progress.trained_in)


def test_two_sites_of_one_name_are_refused(world: Callable[..., World]) -> None:
    grid = InProcessGrid([lambda message, context: message], ["north", "north"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="sites must have names of their own"):
        named_sites(grid)


def test_a_finished_run_writes_the_same_model_again(
    tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site], tmp_path: Path
) -> None:
    written = []
    for _ in range(2):
        here = World(tiny_settings(), [tiny_site("north"), tiny_site("south")], tmp_path)
        federate(here.sites, [here.worker], here.settings, tmp_path)
        written.append([(tmp_path / f"{name}.safetensors").read_bytes() for name in ("model", "last")])
    assert written[0] == written[1]


class CutOffInRoundTwo(RecordingReporter):
    """Fails once, when round 2 is reported for the first time."""

    failed = False

    def round(self, report: RoundReport, rounds: int) -> None:
        if report.round == 2 and not self.failed:
            self.failed = True
            raise ConnectionError("cut off")
        super().round(report, rounds)


@pytest.mark.slow
def test_every_round_is_reported_when_a_run_is_interrupted(world: Callable[..., World]) -> None:
    here, reporter = world(), CutOffInRoundTwo()
    with pytest.raises(ConnectionError):
        federate(here.sites, [here.worker], here.settings, here.folder, reporter)
    assert [report.round for report in reporter.rounds] == [1]
    federate(here.sites, [here.worker], here.settings, here.folder, reporter)
    assert [report.round for report in reporter.rounds] == [1, 2, 3]


def test_counts_alone_give_the_scores_of_the_patients(world: Callable[..., World]) -> None:
    here = world()
    federation = federate(here.sites, [here.worker], here.settings, here.folder)
    federation.conclude()
    estimates = json.loads((here.folder / "test.json").read_text())
    tested = evaluate(here.worker, here.sites, {"federated": federation.ensembles(NAMES)}, here.settings)
    drawn = np.random.default_rng(0)
    exact = compare([tested], 20, drawn).models["federated"]["all_patients"]
    for name in ("qwk", "accuracy", "sensitivity", "specificity"):
        assert estimates[name]["value"] == pytest.approx(exact[name]["value"])
        assert estimates[name]["low"] <= estimates[name]["value"] <= estimates[name]["high"]


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
def test_the_best_round_is_kept_and_patience_ends_a_run(world: Callable[..., World]) -> None:
    """From round 3 on, training makes the model worse: the learning rate is too large."""
    harmful = world(federation__rounds=12, federation__patience=2, training__epochs=2)
    steady = list(harmful.run())
    assert len(steady) < 13
    final = steady[-1][0]
    assert final.finished
    best = next(progress for progress, _ in steady if progress.round == final.best.round)
    assert final.best.weights.equal(best.weights)


@pytest.mark.parametrize(
    ("strategy", "batch_norm", "compression"),
    [
        ("fedavg", "local", "int8"),
        pytest.param("fedadam", "average", "int8", marks=pytest.mark.slow),
    ],
)
def test_any_round_can_be_asked_again_with_the_same_bits(
    strategy: str, batch_norm: str, compression: str, world: Callable[..., World]
) -> None:
    settings = {"model__batch_norm": batch_norm, "federation__compression": compression, "federation__rounds": 3}
    whole, killed = (world(strategy__name=strategy, **settings) for _ in range(2))
    ran = [progress for progress, _ in whole.run()]
    killed.folder = whole.folder / "killed"
    rounds = killed.run()
    path = killed.folder / "checkpoint.safetensors"
    checkpoint.write(next(rounds)[0], path)
    next(rounds)  # the sites finished round 2, but no checkpoint has it
    resumed = [progress for progress, _ in killed.run(start=checkpoint.read(path, whole.worker.network.layout))]
    assert [progress.round for progress in resumed] == [2, 3, 3]
    for before, after in zip(ran[1:], resumed, strict=True):
        assert after.weights.equal(before.weights)
        assert after.best.weights.equal(before.best.weights)
        assert after.norms == before.norms


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["float16", "int8"])
def test_a_compressed_federation_learns_as_much_from_fewer_bytes(compression: str, world: Callable[..., World]) -> None:
    settings = {"federation__rounds": 6, "training__epochs": 2}
    whole, small = (list(world(federation__compression=name, **settings).run())[-2:] for name in ("none", compression))
    assert small[-1][1].metrics["referable_auroc"] > 0.9
    assert small[0][1].bytes_up < whole[0][1].bytes_up
    assert all(not report.refused for _, report in small)


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


def test_a_checkpoint_of_another_network_is_refused(world: Callable[..., World]) -> None:
    here = world()
    path = here.folder / "checkpoint.safetensors"
    checkpoint.write(begin(here.worker.initial.weights), path)
    other = build(replace(here.settings.model, head="referable"), 0)
    with pytest.raises(ValueError, match="must hold the network of this run"):
        checkpoint.read(path, other.layout)


def test_local_statistics_never_travel_and_differ_by_site(world: Callable[..., World]) -> None:
    here = world(model__batch_norm="local")
    list(here.run())
    kept = {name: np.load(here.folder / "sites" / name / "statistics" / "2.npy") for name in NAMES}
    assert not np.array_equal(kept["east"], kept["west"])
    assert here.worker.network.layout.sizes[1] == 0


def test_a_reply_holds_no_name_and_no_value_of_an_image(world: Callable[..., World]) -> None:
    """Names in replies are those of the protocol, and arrays are weights and tables."""
    sent: list[RecordDict] = []

    def watch(site: str, round: int, reply: Message) -> Message:
        sent.append(reply.content)
        return reply

    here = world()
    list(here.run(watch))
    for content in sent:
        for record in content.array_records.values():
            for array in record.values():
                assert not any(name.encode() in array.data for name in ("north-", "east-", "west-"))
        tables = content.array_records[TABLES]
        cells = sum(array.numpy().size for array in tables.values())
        assert cells < 1500, "tables have a fixed size: nothing in them grows with the images"


def test_federate_writes_the_best_and_the_last_model(world: Callable[..., World]) -> None:
    here = world()
    reporter = RecordingReporter()
    federation = federate(here.sites, [here.worker], here.settings, here.folder, reporter)
    assert [report.round for report in reporter.rounds] == [1, 2, 3]
    lines = [json.loads(line) for line in (here.folder / "rounds.jsonl").read_text().splitlines()]
    assert [line["round"] for line in lines] == [1, 2, 3]
    for name in ("model.safetensors", "last.safetensors", "checkpoints/latest.safetensors"):
        assert (here.folder / name).stat().st_size > 0
    assert federation.best_round in (0, 1, 2)
    assert isinstance(federation.models["north"], SiteModel)
