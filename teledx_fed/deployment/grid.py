"""Flower's grid as our rounds want it: replies one by one as they come, late ones told apart, lost ones asked again."""

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from flwr.app import Message
from flwr.proto.node_pb2 import NodeInfo
from flwr.serverapp import Grid

from teledx_fed.deployment.audit import AuditLog
from teledx_fed.deployment.outgoing import told
from teledx_fed.deployment.receipts import RECEIVED, SENT
from teledx_fed.federation.in_process import AnsweringGrid

POLL_SECONDS = 0.25
ROLL_CALL_SECONDS = 2.0
AT_ONCE = 8
"""Replies that are asked for, and so perhaps held, at a time."""


@dataclass(frozen=True)
class Sent:
    """A message on its way to a node that was `activated` then."""

    message: Message
    activated: str


class NetworkGrid(AnsweringGrid):
    """What `rounds` sees of Flower's grid over a network. Every message is written into `audit`."""

    def __init__(
        self,
        grid: Grid,
        audit: AuditLog,
        say: Callable[[str], None],
        sites: Collection[str],
        quorum: int,
        wait_seconds: float,
    ) -> None:
        """`sites` are those that are admitted: the first round waits for all of them, later ones for `quorum`."""
        self._grid, self._audit, self._say = grid, audit, say
        self._sites, self._quorum, self._wait_seconds = frozenset(sites), quorum, wait_seconds
        self._wanted = max(quorum, len(sites))
        self._overdue: dict[str, Sent] = {}

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Those online, once a quorum is. A `ConnectionError` names who is missing when the wait is over."""
        until, told = time.monotonic() + self._wait_seconds, None
        while len(online := list(self._grid.get_nodes())) < self._wanted:
            missing = ", ".join(sorted(self._sites - {node.name for node in online}))
            if time.monotonic() > until:
                self._wanted = self._quorum
                if len(online) < self._quorum:
                    raise ConnectionError(
                        f"federation.quorum of {self._quorum} sites must be online within {self._wait_seconds:g} s, "
                        f"got {len(online)}; missing: {missing}. When they are back, resume the run."
                    )
                break
            if missing != told:
                self._say(f"waiting for {missing}")
                told = missing
            time.sleep(ROLL_CALL_SECONDS)
        self._wanted = self._quorum
        return online

    def get_node_ids(self) -> Iterable[int]:
        return [node.node_id for node in self.get_nodes()]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        until = time.monotonic() + timeout if timeout is not None else float("inf")
        under_way = self._push(messages)
        roll_call = time.monotonic()
        while under_way and time.monotonic() < until:
            for reply in self._pulled(list(under_way)):
                sent = under_way.pop(reply.metadata.reply_to_message_id, None)
                if sent is not None:
                    self._note(RECEIVED, reply, sent)
                    yield reply
            self._drop_late()
            if time.monotonic() > roll_call + ROLL_CALL_SECONDS:
                under_way, roll_call = self._asked_again(under_way), time.monotonic()
            time.sleep(POLL_SECONDS)
        self._overdue |= under_way

    def _push(self, messages: Iterable[Message]) -> dict[str, Sent]:
        """One by one: a message is as large as the model. It is written down before it goes."""
        activated = self._activated()
        under_way = {}
        for message in messages:
            sent = Sent(message, activated.get(message.metadata.dst_node_id, ""))
            self._note(SENT, message, sent)
            (identity,) = self._grid.push_messages([message])
            if identity is not None:
                under_way[identity] = sent
        return under_way

    def _pulled(self, identities: list[str]) -> Iterator[Message]:
        for start in range(0, len(identities), AT_ONCE):
            yield from self._grid.pull_messages(identities[start : start + AT_ONCE])

    def _drop_late(self) -> None:
        """A reply to an earlier exchange: nobody waits for it any more."""
        for reply in self._pulled(list(self._overdue)):
            sent = self._overdue.pop(reply.metadata.reply_to_message_id, None)
            if sent is not None and reply.has_content():
                self._note("late", reply, sent)
                self._say(f"a reply of {self._name(sent)} came too late and is dropped")

    def _asked_again(self, under_way: Mapping[str, Sent]) -> dict[str, Sent]:
        """A site that has come back since lost what it was asked; asked again, it answers the same bytes."""
        activated, still = self._activated(), {}
        for identity, sent in under_way.items():
            since = activated.get(sent.message.metadata.dst_node_id, sent.activated)
            if since == sent.activated:
                still[identity] = sent
                continue
            self._say(f"{self._name(sent)} came back and is asked again")
            self._overdue[identity] = sent
            still |= self._push([_anew(sent.message)])
        return still

    def _activated(self) -> dict[int, str]:
        return {node.node_id: node.last_activated_at for node in self._grid.get_nodes()}

    def _name(self, sent: Sent) -> str:
        node = sent.message.metadata.dst_node_id
        return next((info.name for info in self._grid.get_nodes() if info.node_id == node), f"node {node}")

    def _note(self, event: str, message: Message, sent: Sent) -> None:
        self._audit.append(event, site=self._name(sent), **told(message))


def _anew(message: Message) -> Message:
    metadata = message.metadata
    return Message(message.content, dst_node_id=metadata.dst_node_id, message_type=metadata.message_type)
