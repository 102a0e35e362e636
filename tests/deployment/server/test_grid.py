"""Replies from Flower's grid, some of them invalid or from a hostile hospital."""

import time
from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest
from flwr.app import ConfigRecord, Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.task_identity import TaskIdentity
from signed_log import signed_log

from teledx_fed.deployment.server import grid
from teledx_fed.deployment.server.grid import NetworkGrid

NORTH, SOUTH = 2, 3


class Network:
    """Replaces Flower's grid; `amiss` is the exception, the error or the sender of the reply of `SOUTH`."""

    def __init__(self, amiss: object) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
        self.amiss, self.sent, self.since = amiss, dict[str, Message](), "noon"

    def get_nodes(self) -> Iterable[NodeInfo]:
        names = ((NORTH, "north"), (SOUTH, "south"))
        return [NodeInfo(node_id=node, name=name, last_activated_at=self.since) for node, name in names]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        for message in messages:
            identity = f"message {len(self.sent)}"
            message.metadata.__dict__["_message_id"] = identity
            self.sent[identity] = message
            yield identity

    def pull_messages(self, identities: Iterable[str]) -> Iterable[Message]:
        (identity,) = identities
        reply = Message(RecordDict({"config": ConfigRecord({"round": 1})}), reply_to=self.sent[identity])
        if reply.metadata.src_node_id == SOUTH:
            if isinstance(self.amiss, Exception):
                raise self.amiss
            if isinstance(self.amiss, Error):
                error, self.amiss = self.amiss, SOUTH
                return [Message(error, reply_to=self.sent[identity])]
            reply.metadata.__dict__["_src_node_id"] = self.amiss
        return [reply]


def replies_of(amiss: object, folder: Path, back: bool = False) -> dict[int, Message]:
    flower = Network(amiss)
    network = NetworkGrid(flower, signed_log(folder / "audit"), print, ["north", "south"], 2, 1)  # type: ignore[arg-type]
    messages = [Message(RecordDict(), dst_node_id=node, message_type="train") for node in (NORTH, SOUTH)]
    replies = {}
    for reply in network.send_and_receive(messages, timeout=5):
        replies[reply.metadata.src_node_id] = reply
        flower.since = "later" if back else "noon"
    return replies


def test_an_unreadable_reply_is_an_error_of_its_site_only(tmp_path: Path) -> None:
    replies = replies_of(KeyError("object"), tmp_path)
    assert not replies[NORTH].has_error()
    assert replies[SOUTH].error.reason == "a reply that cannot be read: KeyError"


def test_a_reply_with_a_wrong_sender_is_an_error(tmp_path: Path) -> None:
    replies = replies_of(NORTH, tmp_path)
    assert not replies[NORTH].has_error()
    assert replies[SOUTH].error.reason == "a reply in the name of another site"


def test_a_lost_server_ends_the_exchange(tmp_path: Path) -> None:
    with pytest.raises(httpx.ConnectError):
        replies_of(httpx.ConnectError("gone"), tmp_path)


AWAY = Error(ErrorCode.NODE_UNAVAILABLE, "no heartbeat")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grid, "ROLL_CALL_SECONDS", 0.1)
    monkeypatch.setattr(grid, "RETURN_SECONDS", 1.0)


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_the_message_to_a_site_that_reconnects_is_sent_again(tmp_path: Path) -> None:
    assert not replies_of(AWAY, tmp_path, back=True)[SOUTH].has_error()


@pytest.mark.slow
@pytest.mark.usefixtures("hasty")
def test_the_reply_of_a_site_that_stays_offline_is_the_servers_error(tmp_path: Path) -> None:
    assert replies_of(AWAY, tmp_path)[SOUTH].error.reason == "no heartbeat"


@pytest.mark.parametrize("identity", [None, ""], ids=["Flower 1.42", "Flower 1.43"])
def test_the_exchange_does_not_wait_for_messages_that_the_server_did_not_take(
    identity: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Network, "push_messages", lambda network, messages: [identity for _ in messages])
    start = time.monotonic()
    assert replies_of(NORTH, tmp_path) == {}
    assert time.monotonic() - start < 4
