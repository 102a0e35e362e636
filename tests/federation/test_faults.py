"""Simulated faults in federations of tiny hospitals."""

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from numpy.typing import NDArray
from reporters import RecordingReporter
from safetensors import safe_open

from teledx_fed.config.federation import FAULTS
from teledx_fed.config.loading import CONF
from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site
from teledx_fed.core.reports import RoundReport
from teledx_fed.federation.faults import FaultyGrid, fault, with_flipped_labels
from teledx_fed.federation.in_process import InProcessGrid
from teledx_fed.federation.messages import CONFIG, METRICS, PARAMETERS, values, vector
from teledx_fed.federation.simulation import CHECKPOINT, federate
from teledx_fed.model.network import build
from teledx_fed.training.worker import Worker

NAMES = ("east", "north", "south", "west", "zenith")
REFUSED = {"not_a_number", "infinity", "scale_attack", "wrong_shape", "stale", "crash", "forged_count"}
SILENT = {"drop_out", "straggle"}
ONE_OF_EACH = {"not_a_number", "straggle", "sign_flip"}

Run = Callable[..., list[RoundReport]]


@pytest.fixture
def run(tiny_settings: Callable[..., Settings], tiny_site: Callable[..., Site], tmp_path: Path) -> Run:
    def federated(names: Sequence[str] = NAMES, **overrides: object) -> list[RoundReport]:
        sites = {name: tiny_site(name, 5) for name in names}
        settings = tiny_settings(federation__norm_limit=5.0, **overrides)
        reporter = RecordingReporter()
        worker = Worker(build(settings.model, settings.seed))
        federate(sites, [worker], settings, tmp_path / str(len(list(tmp_path.iterdir()))), reporter)
        return reporter.rounds

    return federated


def last_folder(folder: Path) -> Path:
    return max(folder.iterdir(), key=lambda path: int(path.name))


def last_model(folder: Path) -> bytes:
    return (last_folder(folder) / "last.safetensors").read_bytes()


@pytest.mark.parametrize(
    "kind", [kind if kind in ONE_OF_EACH else pytest.param(kind, marks=pytest.mark.slow) for kind in FAULTS]
)
def test_a_fault_is_refused_silent_or_gets_through(kind: str, run: Run) -> None:
    reports = run(faults__kinds=[kind], faults__sites=["south"], faults__first=2)
    assert reports[0].accepted == NAMES
    spoiled = reports[1]
    assert ("south" in spoiled.refused) == (kind in REFUSED)
    assert ("south" in spoiled.silent) == (kind in SILENT)
    assert set(spoiled.accepted) == set(NAMES) - ({"south"} if kind in REFUSED | SILENT else set())


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(REFUSED | SILENT))
def test_after_a_refused_fault_the_model_equals_one_without_that_site(kind: str, run: Run, tmp_path: Path) -> None:
    run(faults__kinds=[kind], faults__sites=["south"])
    spoiled = last_model(tmp_path)
    run([name for name in NAMES if name != "south"])
    assert last_model(tmp_path) == spoiled


@pytest.mark.slow
def test_an_accepted_fault_changes_the_model(run: Run, tmp_path: Path) -> None:
    models = set()
    for kind in [None, *(kind for kind in FAULTS if kind not in REFUSED | SILENT)]:
        run(faults__kinds=[kind] if kind else [], faults__sites=["south"])
        models.add(last_model(tmp_path))
    assert len(models) == 4


def test_faults_are_drawn_from_seed_site_and_round(tiny_settings: Callable[..., Settings]) -> None:
    def plan(**overrides: object) -> list[str | None]:
        settings = tiny_settings(faults__kinds=["crash", "not_a_number"], **overrides)
        return [fault(site, round, settings.seed, settings.faults) for site in NAMES for round in range(1, 101)]

    drawn = plan(faults__share=0.3)
    assert drawn == plan(faults__share=0.3)
    assert drawn != plan(faults__share=0.3, seed=1)
    assert 0.2 < sum(kind is not None for kind in drawn) / len(drawn) < 0.4
    assert {*drawn} == {None, "crash", "not_a_number"}
    assert set(plan(faults__share=0.0)) == {None}
    one = plan(faults__sites=["north"], faults__first=3, faults__last=4, federation__rounds=9)
    assert [i for i, kind in enumerate(one) if kind] == [102, 103]


class Grids:
    """Grids in which each site sends its own vector, honest and with flipped labels."""

    def __init__(self, settings: Settings, sent: Sequence[Sequence[float]]) -> None:
        def app(scale: float) -> Callable[[Message, Context], Message]:
            def answer(message: Message, context: Context) -> Message:
                weights = np.float32(sent[int(str(context.node_config["site"]))]) * np.float32(scale)
                metrics = MetricRecord({"round": 1, "examples": 7})
                return Message(
                    RecordDict({PARAMETERS: vector(weights, PARAMETERS), METRICS: metrics}), reply_to=message
                )

            return answer

        names = [str(i) for i in range(len(sent))]
        honest, flipped = (InProcessGrid([app(scale)], names) for scale in (1, 1000))  # type: ignore[list-item]
        self.grid = FaultyGrid(honest, flipped, settings)

    def ask(self, start: Sequence[float]) -> dict[int, NDArray[np.float32]]:
        content = RecordDict({PARAMETERS: vector(np.float32(start), PARAMETERS), CONFIG: ConfigRecord({"round": 1})})
        sent = [Message(content, dst_node_id=node, message_type="train") for node in self.grid.get_node_ids()]
        return {
            reply.metadata.src_node_id: values(reply.content.array_records[PARAMETERS][PARAMETERS])
            for reply in self.grid.send_and_receive(sent)
        }


def sent_by_the_last(
    kind: str, make: Callable[..., Settings], sent: Sequence[Sequence[float]], **overrides: object
) -> Iterable[float]:
    settings = make(faults__kinds=[kind], faults__sites=[str(len(sent) - 1)], **overrides)
    updates = Grids(settings, sent).ask([1, 1])
    return updates[max(updates)].tolist()


def test_forgeries_by_hand(tiny_settings: Callable[..., Settings]) -> None:
    sent = [[0, 0], [2, 4], [3, 0]]
    assert sent_by_the_last("sign_flip", tiny_settings, sent) == [-1, 2]
    assert sent_by_the_last("scale_attack", tiny_settings, sent) == [201, -99]
    assert sent_by_the_last("wrong_shape", tiny_settings, sent) == [3]
    assert sent_by_the_last("label_flip", tiny_settings, sent) == [3000, 0]


def test_little_is_enough_by_hand(tiny_settings: Callable[..., Settings]) -> None:
    """Baruch et al. 2019: for each weight, the honest mean less two honest standard deviations."""
    sent = [[0, 0], [2, 4], [100, 100]]
    assert sent_by_the_last("little_is_enough", tiny_settings, sent, faults__deviations=2) == [1 - 2, 2 - 4]


@pytest.mark.parametrize("sites", [[], ["east", "north", "south", "west"]])
def test_little_is_enough_needs_two_honest_sites(sites: list[str], run: Run) -> None:
    with pytest.raises(ValueError, match=r"faults\.sites must leave two hospitals honest, .* got .*\. Name fewer\."):
        run(faults__kinds=["little_is_enough"], faults__sites=sites)


def test_a_hospital_that_crashes_keeps_nothing_of_the_round(run: Run, tmp_path: Path) -> None:
    run(faults__kinds=["crash"], faults__sites=["south"], model__batch_norm="local")
    kept = {
        site.name: list((site / "statistics").glob("*.npy")) for site in (last_folder(tmp_path) / "sites").iterdir()
    }
    assert not kept.pop("south", [])
    assert all(kept.values())


def test_labels_are_flipped_only_in_training(tiny_site: Callable[..., Site]) -> None:
    site = tiny_site("north", oedema=True)
    flipped = with_flipped_labels(site)
    assert [e.grade for e in flipped.shard.train] == [4 - e.grade for e in site.shard.train]
    assert not any(e.oedema for e in flipped.shard.train)
    assert (flipped.shard.validation, flipped.shard.test) == (site.shard.validation, site.shard.test)


def test_a_fault_of_an_unknown_site_is_refused(run: Run) -> None:
    with pytest.raises(ValueError, match=r"faults\.sites must name hospitals among .*east.*, got \['atlantis'\]"):
        run(faults__kinds=["not_a_number"], faults__sites=["atlantis"])


def test_faults_that_would_begin_after_the_last_round_are_refused(tiny_settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValueError, match=r"faults\.first must lie in 1…2, got 3"):
        tiny_settings(faults__kinds=["crash"], faults__first=3)


def test_faults_run_in_one_process_without_compression(tiny_settings: Callable[..., Settings]) -> None:
    with pytest.raises(ValueError, match=r"federation\.compression with faults must be one of none"):
        tiny_settings(faults__kinds=["not_a_number"], federation__compression="int8")


def test_conf_has_a_file_for_every_fault() -> None:
    assert set(FAULTS) < {file.stem for file in (CONF / "faults").glob("*.yaml")}


@pytest.mark.slow
def test_a_robust_strategy_continues_after_its_faulty_site_is_refused(run: Run, tmp_path: Path) -> None:
    """With one of five hospitals faulty, an invalid reply counts for the quorum; silence or an error does not."""
    settings = {"strategy__name": "multikrum", "federation__quorum": 5, "faults__sites": ["south"]}
    for kind, round in (("not_a_number", 2), ("drop_out", 0), ("crash", 0)):
        run(faults__kinds=[kind], **settings)
        with safe_open(last_folder(tmp_path) / CHECKPOINT, framework="numpy") as file:
            assert json.loads(file.metadata()["state"])["trained_in"] == round
