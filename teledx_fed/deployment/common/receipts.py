"""Facts of a message that both sides write into their audit logs, and a comparison of the two logs."""

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import Message, RecordDict

from teledx_fed.deployment.common.acknowledgement import entries_with_heads
from teledx_fed.deployment.common.audit import Entry, entries
from teledx_fed.deployment.common.plans import DIGEST

SENT, RECEIVED = "sent", "received"
LISTED, SHOWN = 32, 100
"""Most names of a record, and characters of a name, that a log repeats: a peer may send millions."""


@dataclass(frozen=True)
class Packed:
    """An array in its serialized form in a message."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes


Records = Mapping[str, Mapping[str, Any]]
"""The values of a message by record and name: each value is `Packed` or plain."""


def digest(records: Records) -> str:
    """Return the SHA-256 of sorted names and values: equal for sender and receiver."""
    sha256 = hashlib.sha256()
    for record, values in sorted(records.items()):
        sha256.update(_written(record, len(values)))
        for name, value in sorted(values.items()):
            if isinstance(value, Packed):
                sha256.update(_written(name, value.dtype, value.shape, len(value.data)))
                sha256.update(value.data)
            else:
                sha256.update(_written(name, value))
    return sha256.hexdigest()


def contents(records: Records) -> dict[str, Any]:
    """Summarise a message for the log: dtype, shape and byte count of arrays, and plain values, within the limits."""
    return _first(records, lambda values: _first(values, _shown))


def message_facts(message: Message) -> dict[str, Any]:
    """Return the facts of a message for the log: its type, and its contents or its error."""
    facts: dict[str, Any] = {"kind": message.metadata.message_type, "flower_run": str(message.metadata.run_id)}
    if message.has_error():
        return {**facts, "code": message.error.code, "reason": (message.error.reason or "")[:200]}
    records = _records(message.content)
    return {**facts, "digest": digest(records), "holds": contents(records)}


def _records(content: RecordDict) -> Records:
    arrays = {
        name: {key: Packed(array.dtype, tuple(array.shape), array.data) for key, array in record.items()}
        for name, record in content.array_records.items()
    }
    return {**arrays, **content.metric_records, **content.config_records}


def unmatched(ours: Path, theirs: Path, site: str) -> list[str]:
    """List messages to or from `site` that only one of the two logs contains.

    The `digest` of an entry identifies a message: a message that was sent twice must have been received twice.
    """
    return [
        f"entry {entry['sequence']} of {log} {event} {entry['digest'][:16]}, which {other} has not {answer}"
        for event, answer in ((SENT, RECEIVED), (RECEIVED, SENT))
        for log, other in ((ours, theirs), (theirs, ours))
        for entry in _unanswered(_about(log, event, site), _about(other, answer, site))
    ]


def contradicted(ours: Path, theirs: Path, site: str) -> list[str]:
    """List log heads that one side received in messages of `site` and that the other side's log does not contain."""
    return [
        f"entry {heads.sender[0]} of {other} is not the one that {log} received with entry {entry['sequence']}"
        for log, other in ((ours, theirs), (theirs, ours))
        for hashes in [{entry["sequence"]: entry["hash"] for entry in entries(other)}]
        for entry, of, heads in entries_with_heads(entries(log))
        if of == site and heads.sender[0] and hashes.get(heads.sender[0]) != heads.sender[1]
    ]


def _written(*values: object) -> bytes:
    return json.dumps(values, default=lambda value: {"bytes": value.hex()}).encode() + b"\n"


def _first(values: Mapping[str, Any], shown: Callable[[Any], Any]) -> dict[str, Any]:
    first = {name[:SHOWN]: shown(value) for name, value in sorted(values.items())[:LISTED]}
    return first if len(values) <= LISTED else {**first, "and more": len(values) - LISTED}


def _shown(value: object) -> object:
    match value:
        case Packed(dtype, shape, data):
            return {"dtype": dtype[:SHOWN], "shape": shape[:LISTED], "bytes": len(data)}
        case bool():
            return value
        case int():
            return value if abs(value) < 2**64 else "a large int"
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return value[:SHOWN]
    return f"a {type(value).__name__}"


def _about(log: Path, event: str, site: str) -> Iterator[Entry]:
    for entry in entries(log):
        digested = isinstance(entry.get("digest"), str) and DIGEST.fullmatch(entry["digest"])
        if digested and entry["event"] == event and entry.get("site", site) == site:
            yield entry


def _unanswered(messages: Iterator[Entry], answers: Iterator[Entry]) -> Iterator[Entry]:
    remaining = Counter(entry["digest"] for entry in answers)
    for entry in messages:
        remaining[entry["digest"]] -= 1
        if remaining[entry["digest"]] < 0:
            yield entry
