"""Reports of a run: its progress, each round, and whether a site can train."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol


@dataclass(frozen=True)
class RoundReport:
    """Report of a round, one JSON line. `metrics` are those of the model that the round started from.

    `ended` is ISO 8601. A `void` round had no quorum and did not change the model.
    """

    round: int
    ended: str
    accepted: tuple[str, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    bytes_up: int = 0
    bytes_down: int = 0
    seconds: float = 0.0
    void: bool = False


Counts = Mapping[str, Mapping[str, int]]
"""Number of a site's examples by table and cell; the site sends it before training."""


@dataclass(frozen=True)
class Readiness:
    """Whether a site, or all sites together, can train. In `reasons`, obstacles come before warnings."""

    name: str
    go: bool
    reasons: tuple[str, ...] = ()
    counts: Counts = field(default_factory=dict)


SiteState = Literal["working", "answered", "refused", "silent"]


class Reporter(Protocol):
    """Receives the progress of a long task, and shows or records it."""

    def message(self, text: str) -> None: ...

    def phase(self, name: str) -> None:
        """Begin a phase, such as "rounds"; `progress` counts from here."""

    def progress(self, done: int, total: int) -> None: ...

    def site(self, name: str, state: SiteState) -> None: ...

    def round(self, report: RoundReport, rounds: int) -> None:
        """Report one of `rounds` rounds; the report after the last round holds only the last model's scores."""

    def epoch(self, baseline: str, site: str | None, done: int, total: int) -> None:
        """Report an epoch of a baseline that trains at `site`, or on all data where it is None."""


class SilentReporter:
    """Shows nothing; a base for reporters that need a few of the methods."""

    def message(self, text: str) -> None:
        pass

    def phase(self, name: str) -> None:
        pass

    def progress(self, done: int, total: int) -> None:
        pass

    def site(self, name: str, state: SiteState) -> None:
        pass

    def round(self, report: RoundReport, rounds: int) -> None:
        pass

    def epoch(self, baseline: str, site: str | None, done: int, total: int) -> None:
        pass


SILENT = SilentReporter()


class LogReporter(SilentReporter):
    """Writes messages to a log."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def message(self, text: str) -> None:
        self._log.info("%s", text)
