"""Runs that are interrupted, repeated or resumed give the same bits."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from federated_world import NAMES, World, nan
from flwr.app import Message
from reporters import RecordingReporter

from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site
from teledx_fed.core.reports import RoundReport
from teledx_fed.federation import checkpoint
from teledx_fed.federation.checkpoint import begin
from teledx_fed.federation.simulation import federate
from teledx_fed.model.network import build
from teledx_fed.training.worker import SiteModel


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


@pytest.mark.slow
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
