"""The round loop: send the model to sampled sites, validate and aggregate their updates, and report."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from flwr.serverapp import Grid

from teledx_fed.config.federation import FederationSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.reports import RoundReport
from teledx_fed.core.updates import GlobalModel
from teledx_fed.core.weights import norm
from teledx_fed.federation.aggregation import Aggregation, Collected, RoundRequest
from teledx_fed.federation.checkpoint import Progress
from teledx_fed.federation.data_summaries import declarations
from teledx_fed.federation.replies import UpdateSpec
from teledx_fed.federation.scoring import ask_for_scores, choose
from teledx_fed.federation.send_and_collect import Replies, named_sites, sampled
from teledx_fed.federation.strategies.strategy import Strategy


def rounds(
    grid: Grid,
    strategy: Strategy[Any],
    progress: Progress,
    settings: Settings,
    scratch: Path,
    aggregation: Aggregation,
) -> Iterator[tuple[Progress, RoundReport]]:
    """Run and yield the rounds after `progress`; one more report after the last round scores the last model.

    The folder `scratch` stores the updates of the first round until all have arrived.
    """
    while progress.round < settings.federation.rounds and not progress.finished:
        progress, report = _round(grid, strategy, aggregation, progress, settings, scratch)
        yield progress, report
    if not progress.finished:
        yield _score_last(grid, progress, settings, strategy.max_byzantine)


def _round(
    grid: Grid, strategy: Strategy[Any], aggregation: Aggregation, progress: Progress, settings: Settings, scratch: Path
) -> tuple[Progress, RoundReport]:
    began = time.monotonic()
    round = progress.round + 1
    needed = strategy.needed_replies(strategy.max_byzantine)
    everyone = sampled(named_sites(grid), round, settings, needed)
    declared, declaring = declarations(grid, everyone, progress.declared, settings.federation)
    progress = replace(progress, declared=declared)
    nodes = {node: name for node, name in everyone.items() if name in declared}
    model = GlobalModel(round, progress.weights, progress.trained_in)
    layout, compression = model.weights.layout, settings.federation.compression
    spec = UpdateSpec(round, layout, settings.model.head, compression, strategy.needs_loss)
    limits = _norm_limits(progress, settings.federation)
    collected = Collected(strategy.accumulator(model))
    request = RoundRequest(model, nodes, declared, spec, limits, first=not progress.norms)
    replies = aggregation.run(grid, request, collected, settings, scratch).beside(declaring)
    enough = _enough(replies, settings.federation.quorum, strategy.max_byzantine)
    progress, metrics = choose(progress, collected.tables, settings.federation, strategy.max_byzantine, void=not enough)
    if enough and not progress.finished:
        weights, memory = strategy.step(progress.memory, collected.accumulator.aggregate())
        norms = (*progress.norms, _medians(collected.distances))
        progress = replace(progress, weights=weights, trained_in=round, memory=memory, norms=norms)
    report = _report(round, replies, metrics, time.monotonic() - began)
    return replace(progress, round=round), replace(report, void=not enough)


def _enough(replies: Replies, quorum: int, max_byzantine: int) -> bool:
    """Return whether the round has a quorum. Sites with an invalid reply count, up to `max_byzantine` of them."""
    caught = min(replies.caught, max_byzantine)
    return len(replies.accepted) > 0 and len(replies.accepted) + caught >= quorum


def _score_last(grid: Grid, progress: Progress, settings: Settings, max_byzantine: int) -> tuple[Progress, RoundReport]:
    began = time.monotonic()
    model = GlobalModel(progress.round, progress.weights, progress.trained_in)
    replies, tables = ask_for_scores(grid, model, "validation", settings, progress.declared)
    progress, metrics = choose(progress, tables, settings.federation, max_byzantine, void=False)
    report = _report(progress.round + 1, replies, metrics, time.monotonic() - began)
    return replace(progress, finished=True), report


def _norm_limits(progress: Progress, federation: FederationSettings) -> tuple[float, float]:
    """Return the largest distances that updates may move parameters and statistics.

    Statistics have the scale of activations, so their limit in the first round is a multiple of their own norm.
    """
    if not progress.norms:
        return federation.norm_limit, federation.norm_multiple * norm(progress.weights.statistics)
    parameters, statistics = _medians(progress.norms)
    return federation.norm_multiple * parameters, federation.norm_multiple * statistics


def _medians(distances: Sequence[tuple[float, float]]) -> tuple[float, float]:
    parameters, statistics = zip(*distances, strict=True)
    return median(parameters), median(statistics)


def _report(round: int, replies: Replies, metrics: Mapping[str, float | None], seconds: float) -> RoundReport:
    return RoundReport(
        round=round,
        ended=datetime.now(UTC).isoformat(timespec="seconds"),
        accepted=replies.accepted,
        refused=replies.refused,
        silent=replies.silent,
        metrics=metrics,
        bytes_up=replies.bytes_up,
        bytes_down=replies.bytes_down,
        seconds=seconds,
    )
