"""Replies as Flower's grid hands them over, some of them not as a hospital of good faith writes them."""

from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.proto.node_pb2 import NodeInfo
from flwr.supercore.task_identity import TaskIdentity

from teledx_fed.deployment.audit import AuditLog
from teledx_fed.deployment.grid import NetworkGrid

NORTH, SOUTH = 2, 3


class Network:
    """Stands where Flower's grid does; `amiss` is what becomes of the reply of `SOUTH`."""

    def __init__(self, amiss: object) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1
        self.amiss, self.sent = amiss, dict[str, Message]()

    def get_nodes(self) -> Iterable[NodeInfo]:
        return [NodeInfo(node_id=node, name=name) for node, name in ((NORTH, "north"), (SOUTH, "south"))]

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
            reply.metadata.__dict__["_src_node_id"] = self.amiss
        return [reply]


def asked(amiss: object, folder: Path) -> dict[int, Message]:
    network = NetworkGrid(Network(amiss), AuditLog(folder / "audit"), print, ["north", "south"], 2, 1)  # type: ignore[arg-type]
    messages = [Message(RecordDict(), dst_node_id=node, message_type="train") for node in (NORTH, SOUTH)]
    return {reply.metadata.src_node_id: reply for reply in network.send_and_receive(messages, timeout=5)}


def test_a_reply_that_cannot_be_read_is_its_sites_fault_and_the_other_counts(tmp_path: Path) -> None:
    replies = asked(KeyError("object"), tmp_path)
    assert not replies[NORTH].has_error()
    assert replies[SOUTH].error.reason == "a reply that cannot be read: KeyError"


def test_a_reply_in_the_name_of_another_counts_for_nobody_else(tmp_path: Path) -> None:
    replies = asked(NORTH, tmp_path)
    assert not replies[NORTH].has_error()
    assert replies[SOUTH].error.reason == "a reply in the name of another site"


def test_a_server_that_is_gone_ends_the_exchange(tmp_path: Path) -> None:
    with pytest.raises(httpx.ConnectError):
        asked(httpx.ConnectError("gone"), tmp_path)
