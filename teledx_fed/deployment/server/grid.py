"""Flower's grid over a network: yields replies as they arrive, drops late ones, and repeats lost requests."""

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import httpx
from flwr.app import Error, Message
from flwr.serverapp import Grid

from teledx_fed.core.errors import UnavailableError
from teledx_fed.deployment.common.audit import AuditLog
from teledx_fed.deployment.common.log_heads import AUDIT, LogHeads
from teledx_fed.deployment.common.receipts import RECEIVED, SENT, message_facts
from teledx_fed.federation.flower import ErrorCode, NodeInfo
from teledx_fed.federation.in_process import AnsweringGrid

log = logging.getLogger(__name__)

POLL_SECONDS = 0.25
ROLL_CALL_SECONDS = 2.0
RETURN_SECONDS = 90.0
"""Flower notices a dead SuperNode after 60 s and rejects its successor until then; the successor tries every 30 s."""
INVALID_REPLY = 4
"""Code of the error reply with which the server replaces an invalid reply."""


@dataclass(frozen=True)
class Sent:
    """A message without a reply yet; `activated` is when its node had last connected."""

    message: Message
    activated: str


@dataclass(frozen=True)
class Interrupted:
    """A message to a site that went offline, the error reply, and the time (monotonic, s) when the wait for it ends."""

    sent: Sent
    reply: Message
    until: float


class NetworkGrid(AnsweringGrid):
    """Flower's grid over a network, as `rounds` uses it. Every message is written to the audit log."""

    def __init__(
        self,
        grid: Grid,
        audit: AuditLog,
        report: Callable[[str], None],
        sites: Collection[str],
        quorum: int,
        wait_seconds: float,
    ) -> None:
        """`sites` are the admitted sites: the first round waits for all of them, later rounds for `quorum`."""
        self._grid, self._audit, self._report, self._heads = grid, audit, report, LogHeads(audit)
        self._sites, self._quorum, self._wait_seconds = frozenset(sites), quorum, wait_seconds
        self._wanted = max(quorum, len(sites))
        self._overdue: dict[str, Sent] = {}

    def get_nodes(self) -> Iterable[NodeInfo]:
        """Wait for the sites and return the online nodes. Without a quorum, an `UnavailableError` names the missing."""
        until, reported = time.monotonic() + self._wait_seconds, None
        while len(online := list(self._grid.get_nodes())) < self._wanted:
            missing = ", ".join(sorted(self._sites - {node.name for node in online}))
            if time.monotonic() > until:
                self._wanted = self._quorum
                if len(online) < self._quorum:
                    raise UnavailableError(
                        f"federation.quorum of {self._quorum} sites must be online within {self._wait_seconds:g} s, "
                        f"got {len(online)}; missing: {missing}. When they are back, resume the run."
                    )
                break
            if missing != reported:
                self._report(f"waiting for {missing}")
                reported = missing
            time.sleep(ROLL_CALL_SECONDS)
        self._wanted = self._quorum
        return online

    def get_node_ids(self) -> Iterable[int]:
        return [node.node_id for node in self.get_nodes()]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        until = time.monotonic() + timeout if timeout is not None else float("inf")
        pending, interrupted = self._push(messages), list[Interrupted]()
        roll_call = time.monotonic()
        while (pending or interrupted) and time.monotonic() < until:
            for identity, reply in self._pulled(pending):
                sent = pending.pop(identity)
                if reply.has_error() and reply.error.code == ErrorCode.NODE_UNAVAILABLE:
                    interrupted.append(Interrupted(sent, reply, time.monotonic() + RETURN_SECONDS))
                else:
                    yield self._received(reply, sent)
            for gone in [one for one in interrupted if time.monotonic() > one.until]:
                interrupted.remove(gone)
                yield self._received(gone.reply, gone.sent)
            self._drop_late()
            if time.monotonic() > roll_call + ROLL_CALL_SECONDS:
                pending, roll_call = self._resend(pending, interrupted), time.monotonic()
            time.sleep(POLL_SECONDS)
        self._overdue |= pending
        for gone in interrupted:
            yield self._received(gone.reply, gone.sent)

    def _received(self, reply: Message, sent: Sent) -> Message:
        site = self._name(sent)
        heads = self._heads.detach(reply, site)
        self._audit.append(RECEIVED, site=site, **message_facts(reply), **heads)
        return reply

    def _push(self, messages: Iterable[Message]) -> dict[str, Sent]:
        """Send messages one by one, because each is as large as the model. Each is logged before it is sent."""
        activated = self._activated()
        pending = {}
        for message in messages:
            sent = Sent(message, activated.get(message.metadata.dst_node_id, ""))
            site = self._name(sent)
            self._audit.append(SENT, site=site, **message_facts(message))
            self._heads.attach(message, self._heads.received(site))
            (identity,) = self._grid.push_messages([message])
            del message.content[AUDIT]
            if identity:  # None (Flower 1.42) or empty (1.43): the server did not take the message
                pending[identity] = sent
        return pending

    def _pulled(self, sent_messages: Mapping[str, Sent]) -> Iterator[tuple[str, Message]]:
        """Fetch replies one by one, so that an invalid reply of one site does not affect the replies of others."""
        for identity, sent in list(sent_messages.items()):
            try:
                replies = list(self._grid.pull_messages([identity]))
            except httpx.HTTPError:
                raise
            except Exception as error:
                log.exception("a reply could not be read")
                reason = f"a reply that cannot be read: {type(error).__name__}"
                replies = [Message(Error(INVALID_REPLY, reason), reply_to=sent.message)]
            yield from ((identity, _check_sender(reply, sent)) for reply in replies)

    def _drop_late(self) -> None:
        """Log and drop replies to messages of earlier exchanges."""
        for identity, reply in self._pulled(self._overdue):
            sent = self._overdue.pop(identity)
            if reply.has_content():
                self._audit.append("late", site=self._name(sent), **message_facts(reply))
                self._report(f"a reply of {self._name(sent)} arrived too late: the server drops it")

    def _resend(self, pending: Mapping[str, Sent], interrupted: list[Interrupted]) -> dict[str, Sent]:
        """Send messages again to sites that reconnected and so lost them; a site answers the same bytes again."""
        activated = self._activated()

        def is_back(sent: Sent) -> bool:
            return activated.get(sent.message.metadata.dst_node_id, sent.activated) != sent.activated

        messages = (*pending.values(), *(one.sent for one in interrupted))
        back = [sent for sent in messages if is_back(sent)]
        self._overdue |= {identity: sent for identity, sent in pending.items() if is_back(sent)}
        interrupted[:] = [one for one in interrupted if not is_back(one.sent)]
        for sent in back:
            self._report(f"{self._name(sent)} reconnected: the server sends its message again")
        still = {identity: sent for identity, sent in pending.items() if not is_back(sent)}
        return still | self._push([_copy(sent.message) for sent in back])

    def _activated(self) -> dict[int, str]:
        return {node.node_id: node.last_activated_at for node in self._grid.get_nodes()}

    def _name(self, sent: Sent) -> str:
        node = sent.message.metadata.dst_node_id
        return next((info.name for info in self._grid.get_nodes() if info.node_id == node), f"node {node}")


def _check_sender(reply: Message, sent: Sent) -> Message:
    """Return the reply; if it names a wrong sender, an error from the site that was asked. Errors keep their reason."""
    if reply.metadata.src_node_id == sent.message.metadata.dst_node_id:
        return reply
    error = reply.error if reply.has_error() else Error(INVALID_REPLY, "a reply in the name of another site")
    return Message(error, reply_to=sent.message)


def _copy(message: Message) -> Message:
    metadata = message.metadata
    return Message(message.content, dst_node_id=metadata.dst_node_id, message_type=metadata.message_type)
