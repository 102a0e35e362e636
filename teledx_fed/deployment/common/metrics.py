"""Metrics in Prometheus' text format."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from prometheus_client import CONTENT_TYPE_LATEST, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_LATEST
Metrics = Iterator[Metric]


def expiry(name: str, what: str, time: datetime | None) -> Metrics:
    if time is not None:
        yield gauge(f"{name}_expiry_timestamp_seconds", f"When {what} expires, in Unix time", time.timestamp())


def gauge(name: str, means: str, value: float) -> Metric:
    return GaugeMetricFamily(f"teledx_{name}", means, value)


def counter(name: str, means: str, value: float) -> Metric:
    return CounterMetricFamily(f"teledx_{name}", means, value)


def counters(name: str, means: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = CounterMetricFamily(f"teledx_{name}", means, labels=labels)
    for which, value in values.items():
        family.add_metric(which, value)
    return family


def gauges(name: str, means: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"teledx_{name}", means, labels=(label,))
    for which, value in values.items():
        family.add_metric((which,), value)
    return family


def exposition(metrics: Metrics) -> bytes:
    """Format metrics, with the memory, files and CPU seconds of this process."""
    return generate_latest(_Taken([*ProcessCollector(registry=None).collect(), *metrics]))


@dataclass(frozen=True)
class _Taken(Collector):
    metrics: list[Metric]

    def collect(self) -> list[Metric]:
        return self.metrics
