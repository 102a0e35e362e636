"""Prometheus metrics of a clinic: counts and times, without names or identifiers."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client import generate_latest as generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from teledx_fed.core.clinical import Action
from teledx_fed.diagnosis.clinic import Clinic
from teledx_fed.store.census import Census
from teledx_fed.store.database import StoreError

CONTENT_TYPE = CONTENT_TYPE_LATEST
BUCKETS = (0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Upper bounds in seconds, for pages, pages with a map, and studies."""


class RequestMetrics:
    """Metrics of the requests to one application since its start, and of its clinic."""

    def __init__(self, clinic: Clinic) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._registry.register(_Clinic(clinic))
        self._seconds = Histogram(
            "teledx_clinic_http_request_duration_seconds",
            "Duration of requests by route, without identifiers of studies, links or persons",
            ("method", "path", "status"),
            buckets=BUCKETS,
            registry=self._registry,
        )
        self._refused = Counter(
            "teledx_clinic_refused_submissions",
            "Submissions that were refused, by kind of source",
            ("way",),
            registry=self._registry,
        )

    def count(self, method: str, path: str, status: int, seconds: float) -> None:
        self._seconds.labels(method, path, f"{status // 100}xx").observe(seconds)

    def count_refused(self, source: str) -> None:
        self._refused.labels(source).inc()

    def metrics(self) -> bytes:
        return generate_latest(self._registry)


@dataclass(frozen=True)
class _Clinic(Collector):
    clinic: Clinic

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        store, bundle = self.clinic.store, self.clinic.bundle
        try:
            census = store.census()
        except StoreError:
            census = None
        yield _gauge("database_up", "Whether the database answers", census is not None)
        if census is not None:
            yield from _counts(census)
        usage = shutil.disk_usage(store.folder)
        yield _gauge("disk_free_bytes", "Free space on the disk with the photographs", usage.free)
        yield _gauge("disk_size_bytes", "Size of the disk with the photographs", usage.total)
        if store.last_backup is not None:
            yield _gauge(
                "last_backup_timestamp_seconds", "Time of the last backup, in Unix time", store.last_backup.timestamp()
            )
        model = [((bundle.digest[:12], bundle.manifest.release), 1)]
        yield _gauges("model_info", "The model in use", ("digest", "release"), model)


def _counts(census: Census) -> Iterator[Metric]:
    yield _gauges("studies", "Stored studies, by kind of source and status", ("way", "status"), census.studies.items())
    waiting = [((action.value,), census.waiting.get(action.value, 0)) for action in Action]
    yield _gauges("studies_waiting", "Studies not signed yet, by suggested or read action", ("action",), waiting)
    if census.oldest_waiting is not None:
        waits = (datetime.now(UTC) - census.oldest_waiting).total_seconds()
        yield _gauge("oldest_waiting_seconds", "Since the oldest study that nobody has signed was received", waits)
    yield _gauges(
        "suggestions",
        "Stored suggestions, by action and certainty",
        ("action", "certainty"),
        census.suggestions.items(),
    )
    readings = {
        ("signed" if signed else "preliminary", "overruled" if overruled else "followed"): count
        for (signed, overruled), count in census.readings.items()
    }
    yield _gauges(
        "readings",
        "Stored readings, and whether they follow the suggestion",
        ("standing", "suggestion"),
        readings.items(),
    )
    refused = [((source,), count) for source, count in census.refused.items()]
    yield _gauges("refusals_open", "Refused photographs that nobody has marked as dealt with", ("way",), refused)
    yield _gauge("uploads_open", "Uploads in progress, which are not part of a study yet", census.uploads)


def _gauge(name: str, means: str, value: float) -> Metric:
    return GaugeMetricFamily(f"teledx_clinic_{name}", means, value)


def _gauges(name: str, means: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], float]]) -> Metric:
    family = GaugeMetricFamily(f"teledx_clinic_{name}", means, labels=labels)
    for which, value in values:
        family.add_metric(which, value)
    return family
