"""A hospital's message handler with real photographs, and a server that may send any message."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, Message, RecordDict
from rig import Rig, assert_refused

from teledx_fed.config.federation import OutboundSettings
from teledx_fed.config.settings import Settings
from teledx_fed.deployment.common.audit import entries, verify
from teledx_fed.deployment.common.refusal import Refusal
from teledx_fed.deployment.site.hospital import MessageHandler
from teledx_fed.deployment.site.monitoring import Tally
from teledx_fed.federation import messages as wire
from teledx_fed.federation.data_summaries import ask_for_summaries
from teledx_fed.federation.simulation import coordinate
from teledx_fed.federation.site import Hospital


@pytest.fixture
def settings(tiny_settings: Callable[..., Settings]) -> Settings:
    return tiny_settings(data__hospitals={}, data__sources={}, outbound__min_patients=2)


@pytest.fixture
def rig(tmp_path: Path, settings: Settings) -> Rig:
    return Rig(tmp_path, settings)


def assert_still_alive(rig: Rig) -> None:
    reply = rig.answer(rig.content())
    assert not reply.has_error(), reply.error.reason


def test_a_run_passes_the_limits_and_the_outbound_rules(rig: Rig, tmp_path: Path) -> None:
    progress = coordinate(rig.grid(), rig.worker, rig.settings, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()]
    assert [(line["accepted"], line["refused"]) for line in lines] == [(["north"], {})] * 3
    assert progress.finished
    events = [entry["event"] for entry in entries(rig.directory.audit_log.path)]
    assert events == ["laid out", "approved", *["received", "sent"] * 4]
    by = {
        (entry["plan"], entry["run"]) for entry in entries(rig.directory.audit_log.path) if entry["event"] == "received"
    }
    assert by == {(rig.plan.digest, "first")}
    assert verify(rig.directory.audit_log) == []


@pytest.mark.slow
def test_counts_before_training_pass_the_outbound_rules(rig: Rig) -> None:
    replies, tables = ask_for_summaries(rig.grid(), rig.settings.federation)
    assert replies.accepted == ("north",)
    assert tables["north"]["grades"].sum() == 30


def test_changed_limits_hold_from_the_next_message(rig: Rig) -> None:
    before = (rig.directory.folder / "site.yaml").read_text()
    limits: dict[Refusal, dict[str, Any]] = {
        Refusal.ROOM: {"disk": 1e6},
        Refusal.STEPS: {"steps": [1, 1]},
        Refusal.PATIENTS: {"training_patients": 30},
        Refusal.NETWORK: {"networks": ["tf_efficientnet_b0"]},
    }
    for reason, limit in limits.items():
        rig.change(limits=limit)
        assert_refused(rig.answer(rig.content()), reason)
        (rig.directory.folder / "site.yaml").write_text(before)
    assert not list(rig.directory.state.glob("runs/*/lineage.jsonl"))
    assert_still_alive(rig)


def test_rounds_a_day_are_limited(rig: Rig) -> None:
    rig.change(limits={"rounds_a_day": 1})
    assert_still_alive(rig)
    assert_refused(rig.answer(rig.content()), Refusal.ROUNDS)


def test_questions_a_day_are_limited_over_a_restart(rig: Rig) -> None:
    rig.change(limits={"questions_a_day": 3})
    assert not rig.answer(rig.content()).has_error()
    assert not rig.answer(RecordDict(), "query.statistics").has_error()
    assert_refused(rig.answer(rig.content(batch_size=9)), Refusal.TRAINING)
    rig.handler = MessageHandler(rig.directory, Tally())
    assert_refused(rig.answer(RecordDict(), "query.statistics"), Refusal.QUESTIONS)


def test_counts_are_rounded_to_the_hospitals_cell_not_the_coordinators(rig: Rig) -> None:
    """Otherwise requests with cells of 2, 3, 4 and so on would together reveal the exact counts."""
    tables_of = {}
    for cell in (2, 3, 7):
        settings = replace(rig.settings, outbound=OutboundSettings(cell))
        _, tables = ask_for_summaries(rig.grid(settings=json.dumps(asdict(settings))), settings.federation)
        tables_of[cell] = tables["north"]["grades"].tolist()
    assert tables_of[2] == tables_of[3] == tables_of[7]


def test_a_message_of_an_unknown_kind_is_refused(rig: Rig) -> None:
    for kind in ("query", "query.images", "query.features", "system"):
        assert rig.answer(rig.content(), kind).has_error()
    assert_still_alive(rig)


def test_a_distant_release_is_refused(rig: Rig) -> None:
    assert_refused(rig.answer(rig.content(), release="9.0.0"), Refusal.RELEASE)


def test_a_run_name_with_a_path_is_refused(rig: Rig) -> None:
    for run in ("../../etc", "/etc/passwd", "", ".hidden", "a" * 64):
        assert_refused(rig.answer(rig.content(), run=run), Refusal.REQUEST)
    assert_still_alive(rig)


def test_the_servers_copy_of_the_settings_is_ignored(rig: Rig, tmp_path: Path) -> None:
    """The hospital ignores the server's copy of the settings and uses the approved plan and site.yaml."""
    elsewhere = replace(rig.settings.data, cache=str(tmp_path / "planted"), workers=64)
    planted = replace(rig.settings, data=elsewhere, folder=str(tmp_path / "planted"))
    for settings in (json.dumps(asdict(planted)), "{", '{"seed": "${oc.env:UID}"}'):
        assert not rig.answer(rig.content(), settings=settings).has_error()
    assert not (tmp_path / "planted").exists()


def test_a_pickled_payload_is_not_opened(rig: Rig, tmp_path: Path) -> None:
    victim = tmp_path / "opened"
    pickled = np.array([Bomb(victim)], dtype=object)
    content = rig.content()
    content[wire.PARAMETERS] = ArrayRecord(
        {wire.PARAMETERS: Array("object", (1,), wire.NUMPY, np.lib.format.magic(1, 0) + pickled.dumps())}
    )
    assert_refused(rig.answer(content), Refusal.REQUEST)
    assert not victim.exists()
    assert_still_alive(rig)


class Bomb:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.victim,))


def test_a_model_of_another_shape_is_refused(rig: Rig) -> None:
    for shape in ((3,), (0,)):
        content = rig.content()
        content[wire.PARAMETERS] = wire.vector(np.zeros(shape, np.float32), wire.PARAMETERS)
        assert_refused(rig.answer(content), Refusal.REQUEST)
    assert_still_alive(rig)


def test_a_reply_outside_the_outbound_rules_does_not_leave(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attacker replaces the training function; the outbound rules still refuse the reply."""
    honest = Hospital.train

    def thief(self: Hospital, message: Message) -> RecordDict:
        reply = honest(self, message)
        reply["features"] = wire.vector(np.ones((30, 4), np.float32), "features")
        return reply

    monkeypatch.setattr(Hospital, "train", thief)
    assert_refused(rig.answer(rig.content()), Refusal.OUTBOUND)
    assert [entry["event"] for entry in entries(rig.directory.audit_log.path)] == [
        "laid out",
        "approved",
        "received",
        "refused",
    ]


def test_text_in_the_header_of_an_array_does_not_leave(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Hospital.train

    def thief(self: Hospital, message: Message) -> RecordDict:
        reply = honest(self, message)
        sent = reply.array_records[wire.PARAMETERS][wire.PARAMETERS]
        size = len(wire.header(sent.dtype, tuple(sent.shape)))
        tables_of = "Ann, born 1947".ljust(size).encode() + sent.data[size:]
        reply[wire.PARAMETERS] = ArrayRecord({wire.PARAMETERS: Array(sent.dtype, sent.shape, sent.stype, tables_of)})
        return reply

    monkeypatch.setattr(Hospital, "train", thief)
    assert_refused(rig.answer(rig.content()), Refusal.OUTBOUND)


def test_an_error_reply_contains_its_kind_and_no_file_name(rig: Rig) -> None:
    next(rig.directory.folder.parent.rglob("north-0.png")).write_bytes(b"torn")
    reply = rig.answer(rig.content())
    assert reply.has_error()
    assert "north-0" not in str(reply.error.reason)
