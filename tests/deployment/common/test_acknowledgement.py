"""The other side's messages reveal a log that was rolled back or restarted together with its head."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from signed_log import faults_in, signed_log

from teledx_fed.deployment.common.acknowledgement import LogHead
from teledx_fed.deployment.common.audit import LAID_OUT, entries
from teledx_fed.deployment.common.log_heads import AUDIT, OWN, SEEN, LogHeads
from teledx_fed.deployment.common.receipts import RECEIVED, SENT, contradicted
from teledx_fed.federation import messages as wire

SITE = "north"


class Side:
    """A coordinator or a hospital with nothing but an audit log."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.log = signed_log(folder / "audit.jsonl")
        self.log.append(LAID_OUT)
        self.heads = LogHeads(self.log)

    def send(self, to: "Side", seen: LogHead) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
        message = Message(RecordDict(), dst_node_id=2, message_type="train")
        self.log.append(SENT, site=SITE)
        self.heads.attach(message, seen)
        facts = to.heads.detach(message, SITE)
        assert facts
        to.log.append(RECEIVED, site=SITE, **facts)
        assert AUDIT not in message.content

    def copy(self, to: Path) -> None:
        shutil.copytree(self.log.path.parent, to)

    def restore(self, of: Path) -> None:
        shutil.rmtree(self.log.path.parent)
        of.rename(self.log.path.parent)

    def begin_again(self) -> None:
        for file in self.log.path.parent.glob("audit.jsonl*"):
            file.unlink()
        self.log.append(LAID_OUT)

    def faults(self) -> list[str]:
        return faults_in(self.log.path)


class Sides:
    def __init__(self, folder: Path) -> None:
        self.server, self.site = Side(folder / "server"), Side(folder / "site")

    def round(self) -> None:
        before = self.site.heads.received(SITE)
        self.server.send(self.site, self.server.heads.received(SITE))
        self.site.send(self.server, before)

    def contradicted(self) -> list[str]:
        return contradicted(self.site.log.path, self.server.log.path, SITE)


@pytest.fixture
def sides(tmp_path: Path) -> Sides:
    sides = Sides(tmp_path)
    for _ in range(3):
        sides.round()
    assert sides.server.faults() == sides.site.faults() == sides.contradicted() == []
    return sides


Undo = Callable[[Side, Path], None]


def roll_back(side: Side, copy: Path) -> None:
    side.restore(copy)


def begin_again(side: Side, copy: Path) -> None:
    side.begin_again()


@pytest.mark.parametrize("undo", [roll_back, begin_again])
@pytest.mark.parametrize("whose", ["server", "site"])
def test_lost_entries_are_detected_at_the_next_round_or_with_the_other_log(
    whose: str, undo: Undo, sides: Sides, tmp_path: Path
) -> None:
    side, other = (sides.server, sides.site) if whose == "server" else (sides.site, sides.server)
    side.copy(tmp_path / "kept")
    sides.round()
    undo(side, tmp_path / "kept")
    assert side.faults() == []  # no message has revealed it yet
    assert sides.contradicted() != []
    sides.round()
    sides.round()
    assert any("the log was rolled back or deleted and started again" in fault for fault in side.faults())
    assert any("the other side's log was rolled back" in fault for fault in other.faults())


def test_received_heads_survive_a_restart(sides: Sides) -> None:
    before = sides.site.heads._received
    sides.site.heads = LogHeads(sides.site.log)
    assert sides.site.heads._received == before
    sides.round()
    assert sides.site.faults() == []


@pytest.mark.parametrize(
    "record",
    [
        {OWN: np.zeros(40, np.uint8)},
        {OWN: np.zeros(40, np.uint8), SEEN: np.zeros(41, np.uint8)},
        {OWN: np.zeros(40, np.uint8), SEEN: np.zeros(40, np.float32)},
    ],
)
def test_a_malformed_head_is_removed_and_ignored(record: dict[str, np.ndarray], sides: Sides) -> None:
    message = Message(RecordDict({AUDIT: wire.arrays(record)}), dst_node_id=2, message_type="train")
    assert sides.server.heads.detach(message, SITE) == {}
    assert AUDIT not in message.content


def test_malformed_heads_in_a_log_do_not_stop_verify(sides: Sides, tmp_path: Path) -> None:
    hostile = signed_log(tmp_path / "hostile.jsonl")
    hostile.append(LAID_OUT)
    for head in ("text", [1], [1, 2], ["1", "2"], [1, "x", "y"], {"a": 1}, [True, "x"], [10**30, "x"]):
        hostile.append(RECEIVED, site=SITE, their_head=head, our_head=head)
    contradicted(sides.site.log.path, hostile.path, SITE)
    faults_in(hostile.path)
    assert len(list(entries(hostile.path))) == 9
