"""What Prometheus learns of a server and of a site."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from typing import Literal, get_args

from prometheus_client import CONTENT_TYPE_LATEST, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from teledx_fed.core.reports import RoundReport
from teledx_fed.deployment.events import Disk
from teledx_fed.deployment.overview import Overview, RunStanding, State

CONTENT_TYPE = CONTENT_TYPE_LATEST
KINDS = ("train", "evaluate", "query", "other")
Outcome = Literal["answered", "refused", "failed"]


@dataclass
class Tally:
    """What a site's worker counts; nothing in it comes from a photograph or a patient."""

    messages: dict[tuple[str, str], int] = field(
        default_factory=lambda: dict.fromkeys(product(KINDS, get_args(Outcome)), 0)
    )
    sent: int = 0
    last: float = field(default_factory=time.monotonic)
    failing: set[str] = field(default_factory=set)
    """The kinds of message of which the last one failed."""

    def count(self, kind: str, outcome: Outcome, sent: int = 0) -> None:
        """A message, its kind as the server wrote it (`query.counts`), and the bytes that left in the answer."""
        kind = known if (known := kind.partition(".")[0]) in KINDS else "other"
        self.messages[kind, outcome] += 1
        self.sent += sent
        self.last = time.monotonic()
        (self.failing.add if outcome == "failed" else self.failing.discard)(kind)


def server_metrics(seen: Overview, certificate: datetime | None) -> bytes:
    """`certificate`: when the server's expires."""
    return _written(_of_server(seen, certificate))


def site_metrics(tally: Tally, supernode_up: bool, space: Disk, authority: datetime | None) -> bytes:
    """`authority`: when the certificate expires by which the site knows its server."""
    return _written(_of_site(tally, supernode_up, space, authority))


def _of_server(seen: Overview, certificate: datetime | None) -> Iterator[Metric]:
    yield _gauge("server_sites_online", "Sites that are connected", sum(site.online for site in seen.sites))
    yield from _expiry("server_certificate", "the server's certificate", certificate)
    if seen.run is not None:
        yield from _of_run(seen.run)
    if seen.rounds:
        yield from _of_round(seen.rounds[-1])


def _of_run(run: RunStanding) -> Iterator[Metric]:
    yield _gauges("server_run_state", "1 for that of the newest run", "state", {s: s is run.state for s in State})
    yield _gauge("server_run_round", "Rounds that ended in the newest run", run.round)
    if run.rounds is not None:
        yield _gauge("server_run_rounds", "Rounds that the newest run is to have", run.rounds)
    sent = {"up": run.bytes_up, "down": run.bytes_down}
    yield _gauges("server_run_bytes", "Sent by sites (up) and to them (down) in the newest run", "way", sent)


def _of_round(last: RoundReport) -> Iterator[Metric]:
    sites = {"accepted": len(last.accepted), "refused": len(last.refused), "silent": len(last.silent)}
    yield _gauges("server_round_sites", "In the last round", "outcome", sites)
    yield _gauge("server_round_seconds", "What the last round took", last.seconds)


def _of_site(tally: Tally, supernode_up: bool, space: Disk, authority: datetime | None) -> Iterator[Metric]:
    messages = CounterMetricFamily("teledx_site_messages", "By kind and outcome", labels=("kind", "outcome"))
    for labels, count in tally.messages.items():
        messages.add_metric(labels, count)
    yield messages
    yield CounterMetricFamily("teledx_site_sent_bytes", "What left in answers", tally.sent)
    yield _gauge("site_quiet_seconds", "Since the last message, or since the start", time.monotonic() - tally.last)
    yield _gauge("site_supernode_up", "Whether the SuperNode runs", supernode_up)
    yield _gauge("site_disk_free_bytes", "Where the site's folder lies", space.free)
    yield from _expiry("site_authority_certificate", "the certificate that vouches for the server", authority)


def _expiry(name: str, what: str, time: datetime | None) -> Iterator[Metric]:
    if time is not None:
        yield _gauge(f"{name}_expiry_timestamp_seconds", f"When {what} expires, in Unix time", time.timestamp())


def _gauge(name: str, means: str, value: float) -> Metric:
    return GaugeMetricFamily(f"teledx_{name}", means, value)


def _gauges(name: str, means: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"teledx_{name}", means, labels=(label,))
    for which, value in values.items():
        family.add_metric((which,), value)
    return family


def _written(metrics: Iterator[Metric]) -> bytes:
    """With the memory, files and seconds of this process."""
    return generate_latest(_Taken([*ProcessCollector(registry=None).collect(), *metrics]))


@dataclass(frozen=True)
class _Taken(Collector):
    metrics: list[Metric]

    def collect(self) -> list[Metric]:
        return self.metrics
