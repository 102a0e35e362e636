"""The audit log of requests, replies and refusals: append-only JSON lines, each with the hash of the line before.

An entry ends with the hash of its own bytes, which include the hash of the entry before. A file beside the log holds
the head: the number and hash of the last entry, so that a cut end is detected. The head is signed with this side's key
and written after the entry: it may be behind the log, never ahead of it.

The owner of the key could still restore older copies of both files. So each side sends its head with every message, and
the other side acknowledges it: `verify` compares the log with the acknowledged heads.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from errno import ENOSPC
from pathlib import Path
from typing import Any, Self

from teledx_fed.core.files import make_folder, write_bytes
from teledx_fed.deployment.common.acknowledgement import other_side_rolled_back, rolled_back
from teledx_fed.deployment.common.keys import is_signed_by, sign
from teledx_fed.deployment.common.private_files import read

LAID_OUT = "laid out"
"""The first event of every log, which `init` writes."""
TORN, HEADLESS = "torn line", "head lost"
"""Events that the log adds itself: after a line that a crash cut short, and after the head file was lost."""

NO_ENTRY = "was changed or inserted: it is not an entry of this log"
OWN = frozenset({"sequence", "time", "event", "before", "hash"})
SEALED = re.compile(rb'(\{.*),"hash":"([0-9a-f]{64})"\}', re.DOTALL)
HEAD = re.compile(rb"((\d{1,18}) ([0-9a-f]{64}) (\d{1,18})) ((?:[0-9a-f]{2}){1,150})\n")

Entry = dict[str, Any]


@dataclass(frozen=True)
class SignedHead:
    """The last entry's number and hash, and `size`, the byte at which it ends."""

    sequence: int = 0
    hash: str = "0" * 64
    size: int = 0

    @classmethod
    def of(cls, log: Path, public_key: Path) -> Self | None:
        """Read the head; `None` if it is missing, or its form or signature is wrong."""
        path = _beside(log)
        form = HEAD.fullmatch(path.read_bytes()) if path.exists() else None
        if form is None:
            return None
        content, sequence, digest, size, signature = form.groups()
        signed = is_signed_by(read(public_key), content, bytes.fromhex(signature.decode()))
        return cls(int(sequence), digest.decode(), int(size)) if signed else None

    def write(self, log: Path, key: Path) -> None:
        content = f"{self.sequence} {self.hash} {self.size}".encode()
        write_bytes(_beside(log), content + f" {sign(key, content).hex()}\n".encode())


@dataclass
class Chain:
    """State of reading a log line by line: the last entry so far, and the invalid lines after it."""

    head: SignedHead = field(default_factory=SignedHead)
    size: int = 0
    line: int = 0
    invalid_lines: list[int] = field(default_factory=list)
    invalid_digest: "hashlib._Hash" = field(default_factory=hashlib.sha256)

    def read(self, line: bytes) -> list[str]:
        """Read the next line and return the faults that it reveals."""
        self.line, self.size = self.line + 1, self.size + len(line)
        content = line.removesuffix(b"\n")
        if (entry := _sealed(content)) is None:
            self.invalid_lines.append(self.line)
            self.invalid_digest.update(content + b"\n")
            return []
        faults = [*self._before(entry), *self._order(entry)]
        if entry["sequence"] > self.head.sequence:
            self.head = SignedHead(entry["sequence"], entry["hash"], self.size)
        self.invalid_lines, self.invalid_digest = [], hashlib.sha256()
        return faults

    def _before(self, entry: Entry) -> Iterator[str]:
        if entry["event"] == HEADLESS:
            yield f"line {self.line} reports that the head was lost: entries before it may be missing"
        torn = entry["event"] == TORN
        if torn and entry.get("digest") == self.invalid_digest.hexdigest():
            return
        yield from (f"line {line} {NO_ENTRY}" for line in self.invalid_lines)
        if torn:
            yield f"line {self.line} reports a torn line, but another line is before it"

    def _order(self, entry: Entry) -> Iterator[str]:
        last, sequence = self.head.sequence, entry["sequence"]
        if sequence <= last:
            yield f"line {self.line} holds entry {sequence} after entry {last}: it was moved or inserted"
        elif sequence == last + 1:
            if entry["before"] != self.head.hash:
                yield f"line {self.line} does not follow entry {last} as it is now: one of the two was changed"
        elif sequence != last + 1 + len(self.invalid_lines):
            yield f"line {self.line} holds entry {sequence} after entry {last}: the entries between were removed"


@dataclass(frozen=True)
class AuditLog:
    """A log that several processes may append to; an entry is on the disk when `append` returns.

    `key` signs the head; the public key lies beside it, in the file that ends in .pub.
    """

    path: Path
    key: Path

    @property
    def public_key(self) -> Path:
        return self.key.with_suffix(".pub")

    def head(self) -> SignedHead:
        """Return the last entry that is surely on the disk."""
        return SignedHead.of(self.path, self.public_key) or SignedHead()

    def append(self, event: str, /, **facts: Any) -> None:
        """Append an entry; facts are plain JSON. In a damaged log, entries that report the damage come before it."""
        assert not OWN & facts.keys(), f"{sorted(OWN)} are facts of the log's own"
        with _locked(self.path) as log:
            size, head = os.fstat(log).st_size, SignedHead.of(self.path, self.public_key)
            if head is None and size == 0:
                (head := SignedHead()).write(self.path, self.key)
            last, damage = self._end(head)
            written = b"\n" if size and os.pread(log, 1, size - 1) != b"\n" else b""
            for name, about in (*damage, (event, facts)):
                line, digest = _line(last, name, about)
                written += line
                last = SignedHead(last.sequence + 1, digest, size + len(written))
            if os.write(log, written) < len(written):
                raise OSError(ENOSPC, os.strerror(ENOSPC), str(self.path))
            os.fsync(log)
            last.write(self.path, self.key)

    def _end(self, head: SignedHead | None) -> tuple[SignedHead, list[tuple[str, Entry]]]:
        """Return the last entry, searched from the head on, and the entries that must report damage first."""
        chain = Chain(head or SignedHead())
        with self.path.open("rb") as log:
            log.seek(chain.head.size)
            for line in log:
                chain.read(line)
        torn = [(TORN, {"digest": chain.invalid_digest.hexdigest()})] if chain.invalid_lines else []
        headless: list[tuple[str, Entry]] = [(HEADLESS, {})] if head is None else []
        return chain.head, [*torn, *headless]


def verify(log: AuditLog) -> list[str]:
    """List every fault with its line; the list is empty if only `append` wrote the log.

    `verify` detects a log that was rolled back or restarted only after the other side has sent a message.
    """
    path = log.path
    if not path.exists():
        return [f"{path} is missing"]
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        head, size = SignedHead.of(path, log.public_key), os.fstat(file.fileno()).st_size
        fcntl.flock(file, fcntl.LOCK_UN)
        chain, reached, faults, hashes = Chain(), head == SignedHead(), list[str](), dict[int, str]()
        while line := file.readline(size - chain.size):
            faults += chain.read(line)
            hashes[chain.head.sequence] = chain.head.hash
            reached = reached or chain.head == head
    faults += [*_beginning(path), *rolled_back(entries(path), hashes), *other_side_rolled_back(entries(path))]
    if head is None:
        faults.append(f"{_beside(path).name} is missing or was changed: a cut end cannot be detected")
    elif not reached:
        faults.append(_head_not_in_log(head, chain))
    return faults + _invalid_end(chain, head)


def entries(path: Path) -> Iterator[Entry]:
    """Yield the entries without checking their hashes, and skip lines that are not entries."""
    with path.open("rb") as log:
        for line in log:
            if (entry := _parsed(line)) is not None:
                yield entry


def _beginning(path: Path) -> list[str]:
    first = next(entries(path), None)
    if first is None or first["sequence"] != 1 or first["event"] == LAID_OUT:
        return []
    return [f"the first entry must be the one that init wrote, got {first['event']!r}: the log was started again"]


def _head_not_in_log(head: SignedHead, chain: Chain) -> str:
    if head.size > chain.size and head.sequence > chain.head.sequence:
        return f"the end is cut off after line {chain.line}: there were entries up to {head.sequence}"
    return f"entry {head.sequence} is not the one in the head file, or ends at another byte"


def _invalid_end(chain: Chain, head: SignedHead | None) -> list[str]:
    """List the invalid lines after the last entry; after the head's entry, they are incomplete writes."""
    torn = head is not None and chain.head.size >= head.size
    fault = "is torn: the entry is incomplete" if torn else NO_ENTRY
    return [f"line {line} {fault}" for line in chain.invalid_lines]


def _beside(log: Path) -> Path:
    return log.with_name(f"{log.name}.head")


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    make_folder(path.parent)
    log = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(log, fcntl.LOCK_EX)
        yield log
    finally:
        os.close(log)


def _line(last: SignedHead, event: str, facts: Mapping[str, Any]) -> tuple[bytes, str]:
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    entry = {"sequence": last.sequence + 1, "time": time, "event": event, **facts, "before": last.hash}
    body = json.dumps(entry, separators=(",", ":"), allow_nan=False).removesuffix("}").encode()
    digest = hashlib.sha256(body).hexdigest()
    return body + f',"hash":"{digest}"}}\n'.encode(), digest


def _sealed(line: bytes) -> Entry | None:
    """Return the entry in a line; `None` if the line does not match its own hash."""
    form = SEALED.fullmatch(line)
    sealed = form is not None and hashlib.sha256(form[1]).hexdigest() == form[2].decode()
    return _parsed(line) if sealed else None


def _parsed(line: bytes) -> Entry | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or type(entry.get("sequence")) is not int:
        return None
    return entry if all(isinstance(entry.get(name), str) for name in OWN - {"sequence"}) else None
