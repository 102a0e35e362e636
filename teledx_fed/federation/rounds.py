"""The round loop: one message a round to each sampled site, vetted replies to the strategy, a report a round."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from statistics import median

from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from teledx_fed.evaluation.tables import SHAPES_OF_HEAD
from teledx_fed.federation import messages as wire
from teledx_fed.federation.checkpoint import Progress
from teledx_fed.federation.exchange import Replies, exchange, named_sites, sampled
from teledx_fed.federation.scoring import ask_for_scores, choose
from teledx_fed.federation.strategies import aggregate, configure, folding, remembered, remind
from teledx_fed.federation.vetting import Expected, Vetted, vetted
from teledx_fed.records import GlobalModel, RoundReport, Tables
from teledx_fed.settings import Settings
from teledx_fed.weights import norm


def rounds(
    grid: Grid, strategy: FedAvg, progress: Progress, settings: Settings
) -> Iterator[tuple[Progress, RoundReport]]:
    """Rounds from `progress` on; the last report, one past the last round, scores the last model."""
    remind(strategy, progress.memory)
    while progress.round < settings.federation.rounds and not progress.finished:
        progress, report = _round(grid, strategy, progress, settings)
        yield progress, report
    if not progress.finished:
        yield _score_last(grid, progress, settings)


def _round(grid: Grid, strategy: FedAvg, progress: Progress, settings: Settings) -> tuple[Progress, RoundReport]:
    began = time.monotonic()
    round, start = progress.round + 1, progress.weights
    nodes = sampled(named_sites(grid), round, settings)
    config = wire.asking(GlobalModel(round, start, progress.trained_in), settings.local_training(round))
    sent = configure(strategy, round, start, config, nodes)
    statistics = wire.vector(start.statistics, wire.STATISTICS)
    for message in sent:
        message.content[wire.STATISTICS] = statistics
    expected = _expected(round, progress, settings)
    fold, tables, moved = folding(start, settings), dict[str, Tables](), list[tuple[float, float]]()

    def take(site: str, reply: Vetted) -> None:
        fold.add(site, reply.update)
        tables[site] = reply.update.tables
        moved.append(reply.moved)

    replies = exchange(grid, sent, nodes, settings, lambda content: vetted(content, expected), take)
    enough = _enough(replies, settings)
    progress, metrics = choose(progress, tables, settings, void=not enough)
    if enough and not progress.finished:
        weights = aggregate(strategy, round, fold, start, sent[0], settings.strategy)
        memory = remembered(strategy, settings.strategy.name)
        progress = replace(progress, weights=weights, trained_in=round, memory=memory, norms=_with(progress, moved))
    report = _report(round, replies, metrics, time.monotonic() - began)
    return replace(progress, round=round), replace(report, void=not enough)


def _enough(replies: Replies, settings: Settings) -> bool:
    """A quorum, to which a robust strategy counts those that were caught among the faulty that it bears."""
    caught = min(replies.caught, settings.strategy.borne)
    return len(replies.accepted) > 0 and len(replies.accepted) + caught >= settings.federation.quorum


def _score_last(grid: Grid, progress: Progress, settings: Settings) -> tuple[Progress, RoundReport]:
    began = time.monotonic()
    model = GlobalModel(progress.round, progress.weights, progress.trained_in)
    replies, tables = ask_for_scores(grid, model, "validation", settings)
    progress, metrics = choose(progress, tables, settings, void=False)
    report = _report(progress.round + 1, replies, metrics, time.monotonic() - began)
    return replace(progress, finished=True), report


def _expected(round: int, progress: Progress, settings: Settings) -> Expected:
    """Statistics have the scale of activations, so their first limit is a multiple of their own norm."""
    federation = settings.federation
    limits = (federation.norm_limit, federation.norm_multiple * norm(progress.weights.statistics))
    if progress.norms:
        parameters, statistics = (median(column) for column in zip(*progress.norms, strict=True))
        limits = (federation.norm_multiple * parameters, federation.norm_multiple * statistics)
    tables = SHAPES_OF_HEAD[settings.model.head]
    return Expected(round, progress.weights, limits, federation.max_examples, tables, federation.compression)


def _with(progress: Progress, moved: Sequence[tuple[float, float]]) -> tuple[tuple[float, float], ...]:
    """The norms so far and the median of this round's."""
    parameters, statistics = (median(column) for column in zip(*moved, strict=True))
    return (*progress.norms, (parameters, statistics))


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
