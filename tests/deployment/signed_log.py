"""Audit logs in a test's folder, with the key that signs their heads."""

import json
from pathlib import Path

from teledx_fed.deployment.common.audit import LAID_OUT, AuditLog, SignedHead, verify
from teledx_fed.deployment.common.keys import create_site_keys

ENTRIES = 8


def signed_log(path: Path) -> AuditLog:
    key = path.with_name("audit.key")
    if not key.exists():
        create_site_keys(key, key.with_suffix(".pub"), "audit")
    return AuditLog(path, key)


def faults_in(path: Path) -> list[str]:
    return verify(AuditLog(path, path.with_name("audit.key")))


def head_of(log: Path) -> Path:
    return log.with_name(log.name + ".head")


class ValidLog:
    """The lines and the head of a valid log; `verified` checks other contents in their place."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "audit.jsonl"
        log = signed_log(self.path)
        for number in range(ENTRIES):
            event = LAID_OUT if number == 0 else "asked"
            log.append(event, round=number, by="server", names=["parameters", "é\n"], nothing=None)
        self.lines = self.path.read_bytes().splitlines(keepends=True)
        self.head = head_of(self.path).read_bytes()

    def verified(self, content: bytes, head: bytes | None = None) -> list[str]:
        self.path.write_bytes(content)
        head_of(self.path).write_bytes(self.head if head is None else head)
        return faults_in(self.path)

    def head_after(self, number: int) -> bytes:
        """Return the head of the log after `number` entries."""
        entry = json.loads(self.lines[number - 1])
        head = SignedHead(number, entry["hash"], len(b"".join(self.lines[:number])))
        head.write(self.path, self.path.with_name("audit.key"))
        return head_of(self.path).read_bytes()
