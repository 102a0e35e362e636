"""Attach the heads of the audit logs to messages and detach them: 40 bytes each, a sequence number and a hash."""

from typing import Any

import numpy as np
from flwr.app import Message
from numpy.typing import NDArray

from teledx_fed.deployment.common.acknowledgement import EMPTY, Heads, LogHead, received
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
        self._seen: dict[str, LogHead] = {}
        if log.path.exists():
            self._seen = {site: heads.own for _, site, heads in received(entries(log.path))}

    def seen(self, site: str) -> LogHead:
        """Return the last head that the other side sent."""
        return self._seen.get(site, EMPTY)

    def attach(self, message: Message, seen: LogHead) -> None:
        """Add the record of heads, or replace it.

        `seen` is the last head received before this exchange. The sender of a message could invent the head in it, so a
        reply that acknowledges that head would prove nothing.
        """
        head = self._log.head()
        own = (head.sequence, head.hash)
        message.content[AUDIT] = wire.arrays({OWN: packed(own), SEEN: packed(seen)})

    def detach(self, message: Message, site: str) -> dict[str, Any]:
        """Remove the record of heads and return facts for the log; no facts if it is missing or malformed."""
        if not message.has_content() or AUDIT not in message.content:
            return {}
        record = dict(message.content.array_records[AUDIT]) if AUDIT in message.content.array_records else {}
        del message.content[AUDIT]
        if set(record) != {OWN, SEEN}:
            return {}
        own, seen = (wire.read(record[name], *FORM) for name in (OWN, SEEN))
        if isinstance(own, Unreadable) or isinstance(seen, Unreadable):
            return {}
        heads = Heads(unpacked(own), unpacked(seen))
        self._seen[site] = heads.own
        return heads.facts()


def packed(head: LogHead) -> NDArray[np.uint8]:
    sequence, digest = head
    return np.frombuffer(sequence.to_bytes(8, "big") + bytes.fromhex(digest), np.uint8)


def unpacked(array: NDArray[np.uint8]) -> LogHead:
    content = array.tobytes()
    return int.from_bytes(content[:8], "big"), content[8:].hex()
