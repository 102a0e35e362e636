"""Events that the owner of a site or server must act on, and a webhook that reports each of them once."""

import json
import logging
import shutil
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path

import httpx

from teledx_fed.core.files import write_text

log = logging.getLogger(__name__)

CERTIFICATE_DAYS = 30
"""A warning comes this many days before a certificate or an approval expires."""
DISK_SHARE, DISK_BYTES = 0.1, 2**30
WEBHOOK_SECONDS = 5.0


class Kind(StrEnum):
    STALLED_RUN = "stalled run"
    SILENT_SITE = "silent site"
    REFUSED_UPDATE = "refused update"
    CERTIFICATE = "certificate expires"
    DISK = "disk almost full"
    SUPERNODE = "supernode is down"
    FAILED_MESSAGE = "message failed"


@dataclass(frozen=True)
class Event:
    """An event of one kind about one thing; a new `detail` does not make it a new event."""

    kind: Kind
    about: str
    detail: str

    @property
    def name(self) -> str:
        return f"{self.kind}: {self.about}"


@dataclass(frozen=True)
class Disk:
    free: int
    total: int

    @property
    def low(self) -> bool:
        return self.free < max(DISK_BYTES, DISK_SHARE * self.total)


def disk(folder: Path) -> Disk:
    usage = shutil.disk_usage(folder)
    return Disk(usage.free, usage.total)


def machine_events(certificate_days: int | None, space: Disk) -> Iterator[Event]:
    if certificate_days is not None and certificate_days < CERTIFICATE_DAYS:
        yield Event(Kind.CERTIFICATE, "certificate", f"{certificate_days} days are left")
    if space.low:
        yield Event(Kind.DISK, "disk", f"{space.free / 2**30:.1f} of {space.total / 2**30:.1f} GiB are free")


class Watcher:
    """Reports each event once until it ends; the file `memory` keeps the reported events over a restart."""

    def __init__(self, owner: str, memory: Path, webhook: str | None) -> None:
        self._owner, self._memory, self._webhook = owner, memory, webhook
        self._reported = _reported_in(memory)

    def report(self, events: Collection[Event]) -> None:
        """Report new events. If the webhook does not accept one, stop; the next call tries it again."""
        self._keep(self._reported & {event.name for event in events})
        for event in events:
            if event.name not in self._reported:
                if (failure := self._post(event)) is not None:
                    log.warning("%s (%s); the webhook did not accept it: %s", event.name, event.detail, failure)
                    break
                log.warning("%s (%s)", event.name, event.detail)
                self._keep(self._reported | {event.name})

    def _post(self, event: Event) -> str | None:
        """Send the event; return an error without the webhook's address, which may hold a secret."""
        if self._webhook is None:
            return None
        body = {"from": self._owner, "event": event.kind, "about": event.about, "detail": event.detail}
        now = datetime.now(UTC).isoformat(timespec="seconds")
        try:
            response = httpx.post(self._webhook, json={**body, "time": now}, timeout=WEBHOOK_SECONDS)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return type(error).__name__
        return None if response.is_success else f"it answered {response.status_code}"

    def _keep(self, reported: set[str]) -> None:
        """Store the reported events; on a full disk, only this process has them."""
        if reported != self._reported:
            self._reported = reported
            try:
                write_text(self._memory, json.dumps(sorted(reported), ensure_ascii=False) + "\n")
            except OSError as error:
                log.warning("the list of reported events could not be stored: %s", error)


def _reported_in(memory: Path) -> set[str]:
    with suppress(FileNotFoundError, json.JSONDecodeError):
        return set(json.loads(memory.read_text("utf-8")))
    return set()
