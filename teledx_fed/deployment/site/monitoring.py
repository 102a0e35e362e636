"""Metrics and events of a site, for its owner."""

import time
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from typing import Literal, get_args

from teledx_fed.deployment.common.events import Disk, Event, Kind, machine_events
from teledx_fed.deployment.common.metrics import Metrics, counter, counters, expiry, gauge

KINDS = ("train", "evaluate", "query", "other")
Outcome = Literal["answered", "refused", "failed"]


@dataclass
class Tally:
    """Counters of a site's worker; no value comes from a photograph or a patient."""

    messages: dict[tuple[str, ...], int] = field(
        default_factory=lambda: dict.fromkeys(product(KINDS, get_args(Outcome)), 0)
    )
    sent: int = 0
    last: float = field(default_factory=time.monotonic)
    failing: set[str] = field(default_factory=set)
    """The kinds of message whose last message failed."""

    def count(self, kind: str, outcome: Outcome, sent: int = 0) -> None:
        """Count a message of a kind such as `query.counts`, with the bytes of the answer."""
        kind = group if (group := kind.partition(".")[0]) in KINDS else "other"
        self.messages[kind, outcome] += 1
        self.sent += sent
        self.last = time.monotonic()
        (self.failing.add if outcome == "failed" else self.failing.discard)(kind)


def site_events(supernode_up: bool, failing: Collection[str], certificate_days: int | None, space: Disk) -> list[Event]:
    """Return the present events at a hospital; `failing` are the kinds of message whose last message failed."""
    down = [] if supernode_up else [Event(Kind.SUPERNODE, "supernode", "the server cannot reach this site")]
    failed = [Event(Kind.FAILED_MESSAGE, kind, f"the last {kind} failed, see the log") for kind in sorted(failing)]
    return [*down, *failed, *machine_events(certificate_days, space)]


def site_metrics(tally: Tally, supernode_up: bool, space: Disk, authority: datetime | None) -> Metrics:
    """Yield the site's metrics; `authority` is when the certificate in ca.crt expires."""
    yield counters("site_messages", "By kind and outcome", ("kind", "outcome"), tally.messages)
    yield counter("site_sent_bytes", "Bytes of answers that left", tally.sent)
    yield gauge("site_quiet_seconds", "Since the last message, or since the start", time.monotonic() - tally.last)
    yield gauge("site_supernode_up", "1 if the SuperNode runs", supernode_up)
    yield gauge("site_disk_free_bytes", "Free bytes on the disk of the site's folder", space.free)
    yield from expiry("site_authority_certificate", "the certificate of the server's authority", authority)
