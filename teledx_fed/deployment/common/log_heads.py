"""Attach the heads of the audit logs to messages and detach them: 40 bytes each, a sequence number and a hash."""

from typing import Any

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from teledx_fed.deployment.common.acknowledgement import EMPTY, Heads, LogHead, entries_with_heads
from teledx_fed.deployment.common.audit import AuditLog, entries
from teledx_fed.federation import messages as wire
from teledx_fed.privacy.message_spec import Unreadable

AUDIT = "audit"
"""The record of a message that holds the heads."""
OWN, SEEN = "own", "seen"
FORM = ("uint8", (40,))


class LogHeads:
    """The heads for one side's messages; it reads the last heads of the other sides from its own log.

    Log a message before its heads are attached, and after they are detached. Then the head that is sent includes the
    entry about its message, and both sides log the same digest.
    """

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._received: dict[str, LogHead] = {}
        if log.path.exists():
            self._received = {site: heads.sender for _, site, heads in entries_with_heads(entries(log.path))}

    def received(self, site: str) -> LogHead:
        """Return the last head that the other side sent."""
        return self._received.get(site, EMPTY)

    def attach(self, message: Message, acknowledged: LogHead) -> None:
        """Add the record of heads, or replace it.

        `acknowledged` is the last head received before this exchange. The sender of a message could invent the head in
        it, so a reply that acknowledges that head would prove nothing.
        """
        entry = self._log.head()
        head = (entry.sequence, entry.hash)
        message.content[AUDIT] = wire.arrays({OWN: packed(head), SEEN: packed(acknowledged)})

    def detach(self, message: Message, site: str) -> dict[str, Any]:
        """Remove the record of heads and return facts for the log; no facts if it is missing or malformed."""
        if not message.has_content() or AUDIT not in message.content:
            return {}
        record = dict(message.content.array_records[AUDIT]) if AUDIT in message.content.array_records else {}
        del message.content[AUDIT]
        if set(record) != {OWN, SEEN}:
            return {}
        sender, acknowledged = (wire.read(record[name], *FORM) for name in (OWN, SEEN))
        if isinstance(sender, Unreadable) or isinstance(acknowledged, Unreadable):
            return {}
        heads = Heads(unpacked(sender), unpacked(acknowledged))
        self._received[site] = heads.sender
        return heads.facts()


def packed(head: LogHead) -> NDArray[np.uint8]:
    sequence, digest = head
    return np.frombuffer(sequence.to_bytes(8, "big") + bytes.fromhex(digest), np.uint8)


def unpacked(array: NDArray[np.uint8]) -> LogHead:
    content = array.tobytes()
    return int.from_bytes(content[:8], "big"), content[8:].hex()
