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
from teledx_fed.deployment.common.audit import AuditLog, entries, verify
from teledx_fed.deployment.common.refusal import Refusal
from teledx_fed.deployment.site.hospital import MessageHandler
from teledx_fed.deployment.site.monitoring import Tally
from teledx_fed.federation import messages as wire
from teledx_fed.federation.simulation import coordinate
from teledx_fed.federation.site import Hospital
from teledx_fed.federation.statistics import ask_for_statistics


@pytest.fixture
def asked(tiny_settings: Callable[..., Settings]) -> Settings:
    return tiny_settings(data__hospitals={}, data__sources={}, outbound__min_patients=2)


@pytest.fixture
def rig(tmp_path: Path, asked: Settings) -> Rig:
    return Rig(tmp_path, asked)


def assert_still_alive(rig: Rig) -> None:
    reply = rig.answer(rig.content())
    assert not reply.has_error(), reply.error.reason


def test_rounds_through_the_gate_pass_terms_and_rules(rig: Rig, tmp_path: Path) -> None:
    progress = coordinate(rig.grid(), rig.worker, rig.asked, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "rounds.jsonl").read_text().splitlines()]
    assert [(line["accepted"], line["refused"]) for line in lines] == [(["north"], {})] * 3
    assert progress.finished
    events = [entry["event"] for entry in entries(rig.home.audit)]
    assert events == ["laid out", "approved", *["received", "sent"] * 4]
    by = {(entry["plan"], entry["run"]) for entry in entries(rig.home.audit) if entry["event"] == "received"}
    assert by == {(rig.plan.digest, "first")}
    assert verify(rig.home.audit, rig.home.audit_key.with_suffix(".pub")) == []


@pytest.mark.slow
def test_counts_before_training_pass_the_rules(rig: Rig) -> None:
    replies, tables = ask_for_statistics(rig.grid(), rig.asked)
    assert replies.accepted == ("north",)
    assert tables["north"]["grades"].sum() == 30


def test_limits_count_from_the_message_after_they_were_written(rig: Rig) -> None:
    before = (rig.home.folder / "site.yaml").read_text()
    limits: dict[Refusal, dict[str, Any]] = {
        Refusal.ROOM: {"disk": 1e6},
        Refusal.STEPS: {"steps": [1, 1]},
        Refusal.PATIENTS: {"training_patients": 30},
        Refusal.NETWORK: {"networks": ["tf_efficientnet_b0"]},
    }
    for reason, limit in limits.items():
        rig.change(limits=limit)
        assert_refused(rig.answer(rig.content()), reason)
        (rig.home.folder / "site.yaml").write_text(before)
    assert not list(rig.home.state.glob("runs/*/lineage.jsonl"))
    assert_still_alive(rig)


def test_a_day_has_so_many_rounds(rig: Rig) -> None:
    rig.change(limits={"rounds_a_day": 1})
    assert_still_alive(rig)
    assert_refused(rig.answer(rig.content()), Refusal.ROUNDS)


def test_a_day_has_so_many_questions_of_any_kind_and_a_restart_forgets_none(rig: Rig) -> None:
    rig.change(limits={"questions_a_day": 3})
    assert not rig.answer(rig.content()).has_error()
    assert not rig.answer(RecordDict(), "query.statistics").has_error()
    assert_refused(rig.answer(rig.content(batch_size=9)), Refusal.TRAINING)
    rig.handler = MessageHandler(rig.home, AuditLog(rig.home.audit, rig.home.audit_key), Tally())
    assert_refused(rig.answer(RecordDict(), "query.statistics"), Refusal.QUESTIONS)


def test_counts_are_rounded_by_the_hospitals_own_cell_whatever_is_asked(rig: Rig) -> None:
    """Otherwise requests with cells of 2, 3, 4 and so on would together reveal the exact counts."""
    told = {}
    for cell in (2, 3, 7):
        asked = replace(rig.asked, outbound=OutboundSettings(cell))
        _, tables = ask_for_statistics(rig.grid(settings=json.dumps(asdict(asked))), asked)
        told[cell] = tables["north"]["grades"].tolist()
    assert told[2] == told[3] == told[7]


def test_a_question_of_another_kind(rig: Rig) -> None:
    for kind in ("query", "query.images", "query.features", "system"):
        assert rig.answer(rig.content(), kind).has_error()
    assert_still_alive(rig)


def test_a_release_too_far(rig: Rig) -> None:
    assert_refused(rig.answer(rig.content(), release="9.0.0"), Refusal.RELEASE)


def test_a_run_whose_name_would_leave_its_folder(rig: Rig) -> None:
    for run in ("../../etc", "/etc/passwd", "", ".hidden", "a" * 64):
        assert_refused(rig.answer(rig.content(), run=run), Refusal.REQUEST)
    assert_still_alive(rig)


def test_what_the_server_sends_beside_the_plans_digest_is_not_read(rig: Rig, tmp_path: Path) -> None:
    """The hospital ignores the server's copy of the settings and uses the approved plan and site.yaml."""
    elsewhere = replace(rig.asked.data, cache=str(tmp_path / "planted"), workers=64)
    asked = replace(rig.asked, data=elsewhere, folder=str(tmp_path / "planted"))
    for settings in (json.dumps(asdict(asked)), "{", '{"seed": "${oc.env:UID}"}'):
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


def test_a_model_of_another_shape(rig: Rig) -> None:
    for shape in ((3,), (0,)):
        content = rig.content()
        content[wire.PARAMETERS] = wire.vector(np.zeros(shape, np.float32), wire.PARAMETERS)
        assert_refused(rig.answer(content), Refusal.REQUEST)
    assert_still_alive(rig)


def test_what_the_rules_do_not_name_does_not_leave(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attacker replaces the training function; the outbound rules still refuse the reply."""
    honest = Hospital.train

    def thief(self: Hospital, message: Message) -> RecordDict:
        reply = honest(self, message)
        reply["features"] = wire.vector(np.ones((30, 4), np.float32), "features")
        return reply

    monkeypatch.setattr(Hospital, "train", thief)
    assert_refused(rig.answer(rig.content()), Refusal.OUTBOUND)
    assert [entry["event"] for entry in entries(rig.home.audit)] == ["laid out", "approved", "received", "refused"]


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
