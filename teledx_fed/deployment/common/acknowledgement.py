"""The heads of both audit logs that each message carries, and the rollbacks that `verify` finds with them."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

THEIR_HEAD, OUR_HEAD = "their_head", "our_head"
"""Facts of an entry about a received message: the head of the sender's log, and the last head that it received."""

LogHead = tuple[int, str]
"""The sequence number and the hash of an entry; a log without entries has the head `EMPTY`."""
EMPTY: LogHead = (0, "0" * 64)


@dataclass(frozen=True)
class Heads:
    """`sender` is the head of the sender's log, `acknowledged` the last head that it received from the receiver."""

    sender: LogHead
    acknowledged: LogHead

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Self | None:
        """Return the heads in an entry about a received message; `None` if it has none."""
        match entry:
            case {"their_head": [int(sequence), str(digest)], "our_head": [int(earlier), str(earlier_digest)]}:
                return cls((sequence, digest), (earlier, earlier_digest))
        return None

    def facts(self) -> dict[str, Any]:
        """Return the facts for the entry about the message."""
        return {THEIR_HEAD: list(self.sender), OUR_HEAD: list(self.acknowledged)}


def entries_with_heads(entries: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, Any], str, Heads]]:
    """Yield each entry about a message that carried heads, with the site's name and the heads."""
    for entry in entries:
        if (heads := Heads.of(entry)) is not None:
            yield entry, str(entry.get("site", "")), heads


def rolled_back(entries: Iterable[Mapping[str, Any]], hashes: Mapping[int, str]) -> list[str]:
    """List entries that the other side acknowledged and this log lacks; `hashes` maps sequence numbers to hashes."""
    return [
        f"entry {heads.acknowledged[0]} is not the one that the other side acknowledged in entry {entry['sequence']} "
        f"(site {site}): the log was rolled back or deleted and started again"
        for entry, site, heads in entries_with_heads(entries)
        if heads.acknowledged != EMPTY and hashes.get(heads.acknowledged[0]) != heads.acknowledged[1]
    ]


def other_side_rolled_back(entries: Iterable[Mapping[str, Any]]) -> list[str]:
    """List messages whose sender's head is older than in an earlier message, or has its number but another hash."""
    last, faults = dict[str, LogHead](), list[str]()
    for entry, site, heads in entries_with_heads(entries):
        before = last.get(site, EMPTY)
        if heads.sender[0] < before[0] or (heads.sender[0] == before[0] and heads.sender != before):
            faults.append(
                f"the other side's log was rolled back from entry {before[0]} to {heads.sender[0]} before entry "
                f"{entry['sequence']} (site {site})"
            )
        last[site] = heads.sender
    return faults
