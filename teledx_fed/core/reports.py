"""What a run reports of a round, and of whether a site can train."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class RoundReport:
    """One JSON line a round; `metrics` are those of the model that the round started from, `ended` is ISO 8601.

    A `void` round had no quorum and left the model as it was.
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
"""What a site tells of its data before training: by table and cell."""


@dataclass(frozen=True)
class Readiness:
    """Whether a site, or all of them together, can train: `reasons` against it come before mere warnings."""

    name: str
    go: bool
    reasons: tuple[str, ...] = ()
    counts: Counts = field(default_factory=dict)
