"""A hospital's gate, with real photographs behind it and a server before it that may ask for anything."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from omegaconf import OmegaConf

from benchmarks.jobs.deployed import draw_photographs
from teledx_fed.deployment.audit import AuditLog, entries, verify
from teledx_fed.deployment.hospital import REFUSED, RELEASE, Gate
from teledx_fed.deployment.layout import init_site
from teledx_fed.deployment.metrics import Tally
from teledx_fed.deployment.site_settings import SiteHome
from teledx_fed.deployment.terms import Refusal
from teledx_fed.federation import messages as wire
from teledx_fed.federation.in_process import SERVER, InProcessGrid
from teledx_fed.federation.simulation import coordinate
from teledx_fed.federation.site import FAILED, Hospital
from teledx_fed.federation.statistics import ask_for_statistics
from teledx_fed.federation_settings import OutboundSettings
from teledx_fed.model.network import build as build_network
from teledx_fed.records import GlobalModel
from teledx_fed.settings import Settings
from teledx_fed.training.worker import Worker

NORTH = SERVER + 1


@pytest.fixture
def asked(tiny_settings: Callable[..., Settings]) -> Settings:
    return tiny_settings(data__hospitals={}, data__sources={}, outbound__min_patients=2)


class Rig:
    """A hospital laid out in `folder`, and a server that talks to it."""

    def __init__(self, folder: Path, asked: Settings) -> None:
        draw_photographs(folder / "photographs", "north", 30)
        (folder / "ca.crt").write_text("")
        self.home, self.asked = SiteHome(folder / "site"), asked
        init_site(self.home, "north", "localhost:9092", folder / "ca.crt")
        self.change(
            data={"root": str(folder / "photographs")},
            approval={"reference": "R1", "purpose": "test", "experiments": ["quick_full"], "expires": "2099-01-01"},
            limits={"cores": 1},
            outbound={"min_patients": 2},
            device="cpu",
        )
        self.gate = Gate(self.home, AuditLog(self.home.audit), Tally())
        self.worker = Worker(build_network(asked.model, asked.seed))

    def change(self, **settings: Any) -> None:
        file = self.home.folder / "site.yaml"
        OmegaConf.save(OmegaConf.merge(OmegaConf.load(file), settings), file)

    def grid(self, **changed: str) -> InProcessGrid:
        order = {"settings": json.dumps(asdict(self.asked)), "run": "first", "experiment": "quick_full"}
        app: ClientApp = self.gate  # type: ignore[assignment]  # called as one
        return InProcessGrid([app], ["north"], {**order, "release": RELEASE, **changed})

    def content(self, **config: Any) -> RecordDict:
        """What the server sends in round 1, with these values in the place of its own."""
        weights = self.worker.initial.weights
        asking = wire.asking(GlobalModel(1, weights, 0), self.asked.local_training(1))
        return RecordDict(
            {
                wire.PARAMETERS: wire.vector(weights.parameters, wire.PARAMETERS),
                wire.STATISTICS: wire.vector(weights.statistics, wire.STATISTICS),
                wire.CONFIG: ConfigRecord({**asking, **config}),
            }
        )

    def answer(self, content: RecordDict, kind: str = "train", **changed: str) -> Message:
        grid = self.grid(**changed)
        (reply,) = grid.send_and_receive([Message(content, dst_node_id=NORTH, message_type=kind)])
        return reply


@pytest.fixture
def rig(tmp_path: Path, asked: Settings) -> Rig:
    return Rig(tmp_path, asked)


def assert_refused(reply: Message, reason: Refusal) -> None:
    assert reply.has_error()
    assert (reply.error.code, reply.error.reason) == (REFUSED, reason.value)


def assert_still_alive(rig: Rig) -> None:
    assert not rig.answer(rig.content()).has_error()


def test_rounds_through_the_gate_pass_terms_and_rules(rig: Rig, tmp_path: Path) -> None:
    progress = coordinate(rig.grid(), rig.worker, rig.asked, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()]
    assert [(line["accepted"], line["refused"]) for line in lines] == [(["north"], {})] * 3
    assert progress.finished
    assert [entry["event"] for entry in entries(rig.home.audit)] == ["laid out", *["received", "sent"] * 4]
    assert verify(rig.home.audit) == []


def test_counts_before_training_pass_the_rules(rig: Rig) -> None:
    replies, tables = ask_for_statistics(rig.grid(), rig.asked)
    assert replies.accepted == ("north",)
    assert tables["north"]["grades"].sum() == 30


@pytest.mark.parametrize(
    ("terms", "reason"),
    [
        ({"approval": {"expires": "2020-01-01"}}, Refusal.NOT_APPROVED),
        ({"approval": {"experiments": ["quick"]}}, Refusal.EXPERIMENT),
        ({"limits": {"batches": 1}}, Refusal.BATCHES),
        ({"limits": {"epsilon": 4.0}}, Refusal.EPSILON),
    ],
)
def test_terms_count_from_the_message_after_they_were_written(rig: Rig, terms: dict[str, Any], reason: Refusal) -> None:
    assert_still_alive(rig)
    before = (rig.home.folder / "site.yaml").read_text()
    rig.change(**terms)
    assert_refused(rig.answer(rig.content()), reason)
    (rig.home.folder / "site.yaml").write_text(before)
    assert_still_alive(rig)


def test_a_day_has_so_many_rounds(rig: Rig) -> None:
    rig.change(limits={"rounds_a_day": 2})
    assert [rig.answer(rig.content()).has_error() for _ in range(3)] == [False, False, True]


def test_a_day_has_so_many_questions_of_any_kind_and_a_restart_forgets_none(rig: Rig) -> None:
    rig.change(limits={"questions_a_day": 3})
    assert not rig.answer(rig.content()).has_error()
    assert not rig.answer(RecordDict(), "query.statistics").has_error()
    assert_refused(rig.answer(rig.content(), run="../.."), Refusal.REQUEST)
    rig.gate = Gate(rig.home, AuditLog(rig.home.audit), Tally())
    assert_refused(rig.answer(RecordDict(), "query.statistics"), Refusal.QUESTIONS)


def test_training_other_than_the_runs_settings_ask_for(rig: Rig) -> None:
    for config in ({"views": 10**9}, {"batch_size": 10**6}, {"learning_rate": 1e9}):
        assert_refused(rig.answer(rig.content(**config)), Refusal.REQUEST)
    assert_still_alive(rig)


def test_counts_are_rounded_by_the_hospitals_own_cell_whatever_is_asked(rig: Rig) -> None:
    """Asked by 2, 3, 4 and so on, the same counts would come out exactly."""
    told = {}
    for cell in (2, 3, 7):
        asked = replace(rig.asked, outbound=OutboundSettings(cell))
        _, tables = ask_for_statistics(rig.grid(settings=json.dumps(asdict(asked))), asked)
        told[cell] = tables["north"]["grades"].tolist()
    assert told[2] == told[3] == told[7]


def test_images_larger_than_the_limit(rig: Rig) -> None:
    asked = replace(rig.asked, data=replace(rig.asked.data, image_size=2048))
    reply = rig.answer(RecordDict(), "query.statistics", settings=json.dumps(asdict(asked)))
    assert_refused(reply, Refusal.IMAGE_SIZE)
    assert not rig.home.cache.exists()


def test_a_network_from_an_address_or_a_path_and_settings_that_read_the_environment(rig: Rig) -> None:
    asked = asdict(rig.asked)
    for model in ("hf-hub:stranger/network", "local-dir:/etc", "a/b", "${oc.env:HOME}"):
        settings = json.dumps(asked | {"model": asked["model"] | {"name": model}})
        assert_refused(rig.answer(rig.content(), settings=settings), Refusal.REQUEST)
    assert_refused(rig.answer(rig.content(), settings=json.dumps(asked | {"seed": "${oc.env:UID}"})), Refusal.REQUEST)
    assert_still_alive(rig)


def test_the_test_set_answers_for_one_model_whatever_of_it_is_changed(rig: Rig) -> None:
    def tested(statistics: float) -> Message:
        content = rig.content(split="test")
        weights = rig.worker.initial.weights
        content[wire.STATISTICS] = wire.vector(weights.statistics + np.float32(statistics), wire.STATISTICS)
        return rig.answer(content, "evaluate")

    assert not tested(0.0).has_error()
    assert not tested(0.0).has_error()
    assert tested(0.01).has_error()


def test_more_epochs_than_the_limit(rig: Rig) -> None:
    assert_refused(rig.answer(rig.content(epochs=51)), Refusal.EPOCHS)
    assert_still_alive(rig)


@pytest.mark.parametrize("kind", ["query", "query.images", "query.features", "system"])
def test_a_question_of_another_kind(rig: Rig, kind: str) -> None:
    assert rig.answer(rig.content(), kind).has_error()
    assert_still_alive(rig)


def test_a_release_too_far(rig: Rig) -> None:
    assert_refused(rig.answer(rig.content(), release="9.0.0"), Refusal.RELEASE)


@pytest.mark.parametrize("run", ["../../etc", "/etc/passwd", "", ".hidden", "a" * 64])
def test_a_run_whose_name_would_leave_its_folder(rig: Rig, run: str) -> None:
    assert_refused(rig.answer(rig.content(), run=run), Refusal.REQUEST)
    assert_still_alive(rig)


def test_settings_that_are_none(rig: Rig) -> None:
    for settings in ("", "{", '{"training": {"epochs": "all"}}', '{"surprise": 1}'):
        assert_refused(rig.answer(rig.content(), settings=settings), Refusal.REQUEST)
    assert_still_alive(rig)


@pytest.mark.parametrize("model", [{"initial": "hub"}, {"initial": "file", "file": "/etc/passwd"}])
def test_weights_that_would_be_fetched_or_read_from_elsewhere(rig: Rig, model: dict[str, Any]) -> None:
    asked = replace(rig.asked, model=replace(rig.asked.model, **model))
    assert_refused(rig.answer(rig.content(), settings=json.dumps(asdict(asked))), Refusal.NETWORK)
    assert_still_alive(rig)


def test_where_data_lie_is_not_the_servers_to_say(rig: Rig, tmp_path: Path) -> None:
    elsewhere = replace(rig.asked.data, cache=str(tmp_path / "planted"), workers=64)
    asked = replace(rig.asked, data=elsewhere, folder=str(tmp_path / "planted"))
    assert not rig.answer(rig.content(), settings=json.dumps(asdict(asked))).has_error()
    assert not (tmp_path / "planted").exists()


def test_a_pickled_payload_is_not_opened(rig: Rig, tmp_path: Path) -> None:
    victim = tmp_path / "opened"
    pickled = np.array([Bomb(victim)], dtype=object)
    content = rig.content()
    content[wire.PARAMETERS] = ArrayRecord(
        {wire.PARAMETERS: Array("object", (1,), wire.NUMPY, np.lib.format.magic(1, 0) + pickled.dumps())}
    )
    reply = rig.answer(content)
    assert reply.has_error()
    assert not victim.exists()
    assert_still_alive(rig)


class Bomb:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.victim,))


@pytest.mark.parametrize("shape", [(3,), (0,)])
def test_a_model_of_another_shape(rig: Rig, shape: tuple[int, ...]) -> None:
    content = rig.content()
    content[wire.PARAMETERS] = wire.vector(np.zeros(shape, np.float32), wire.PARAMETERS)
    reply = rig.answer(content)
    assert reply.has_error()
    assert reply.error.code in (FAILED, REFUSED)
    assert_still_alive(rig)


def test_what_the_rules_do_not_name_does_not_leave(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the training function itself had been replaced by a thief's."""
    honest = Hospital.train

    def thief(self: Hospital, message: Message) -> RecordDict:
        reply = honest(self, message)
        reply["features"] = wire.vector(np.ones((30, 4), np.float32), "features")
        return reply

    monkeypatch.setattr(Hospital, "train", thief)
    assert_refused(rig.answer(rig.content()), Refusal.OUTBOUND)
    assert [entry["event"] for entry in entries(rig.home.audit)] == ["laid out", "received", "refused"]


def test_text_in_the_header_of_an_array_does_not_leave(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Hospital.train

    def thief(self: Hospital, message: Message) -> RecordDict:
        reply = honest(self, message)
        sent = reply.array_records[wire.PARAMETERS][wire.PARAMETERS]
        size = len(wire.header(sent.dtype, tuple(sent.shape)))
        told = "Ann, born 1947".ljust(size).encode() + sent.data[size:]
        reply[wire.PARAMETERS] = ArrayRecord({wire.PARAMETERS: Array(sent.dtype, sent.shape, sent.stype, told)})
        return reply

    monkeypatch.setattr(Hospital, "train", thief)
    assert_refused(rig.answer(rig.content()), Refusal.OUTBOUND)


def test_an_error_tells_its_kind_and_no_name_of_a_file(rig: Rig) -> None:
    next(rig.home.folder.parent.rglob("north-0.png")).write_bytes(b"torn")
    reply = rig.answer(rig.content())
    assert reply.has_error()
    assert "north-0" not in str(reply.error.reason)
