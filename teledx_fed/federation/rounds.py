"""The round loop: one message a round to each sampled site, vetted replies to the strategy, a report a round."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean, median

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from teledx_fed.evaluation.tables import SHAPES, scores
from teledx_fed.federation import messages as wire
from teledx_fed.federation.checkpoint import Progress, Scored
from teledx_fed.federation.strategies import aggregate, configure, remembered, remind
from teledx_fed.federation.vetting import Expected, fault, scoring_fault
from teledx_fed.randomness import generator
from teledx_fed.records import GlobalModel, LocalUpdate, RoundReport, Tables
from teledx_fed.settings import Settings
from teledx_fed.weights import Weights, norm

log = logging.getLogger(__name__)


@dataclass
class Replies:
    """What came back, by site and in the order of their names once `settled`."""

    accepted: dict[str, RecordDict] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    bytes_up: int = 0
    bytes_down: int = 0


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
    nodes = _sampled(_sites(grid), round, settings)
    config = wire.asking(GlobalModel(round, start), settings.local_training(round))
    sent = configure(strategy, round, start, config, nodes)
    for message in sent:
        message.content[wire.STATISTICS] = wire.vector(start.statistics, wire.STATISTICS)
    expected = _expected(round, progress, settings)
    replies = _exchange(grid, sent, nodes, settings, lambda content: fault(content, expected))
    updates = {site: wire.update_of(content, start.layout) for site, content in replies.accepted.items()}
    progress, metrics = _choose(progress, {site: update.tables for site, update in updates.items()}, settings)
    if len(updates) >= settings.federation.quorum and not progress.finished:
        weights = aggregate(strategy, round, list(updates.values()), settings.strategy.weighting, start, sent[0])
        norms = (*progress.norms, _median_norms(updates.values(), start))
        memory = remembered(strategy, settings.strategy.name)
        progress = replace(progress, weights=weights, memory=memory, norms=norms)
    progress = replace(progress, round=round)
    return progress, _report(round, replies, metrics, time.monotonic() - began)


def _score_last(grid: Grid, progress: Progress, settings: Settings) -> tuple[Progress, RoundReport]:
    began = time.monotonic()
    nodes = _sites(grid)
    asked = settings.local_training(settings.federation.rounds)
    content = RecordDict(
        {
            wire.PARAMETERS: wire.vector(progress.weights.parameters, wire.PARAMETERS),
            wire.STATISTICS: wire.vector(progress.weights.statistics, wire.STATISTICS),
            wire.CONFIG: wire.asking(GlobalModel(progress.round, progress.weights), asked),
        }
    )
    sent = [Message(content, dst_node_id=node, message_type=MessageType.EVALUATE) for node in nodes]
    expected = _expected(progress.round, progress, settings)
    replies = _exchange(grid, sent, nodes, settings, lambda content: scoring_fault(content, expected))
    tables = {site: wire.tables_of(content) for site, content in replies.accepted.items()}
    progress, metrics = _choose(progress, tables, settings)
    report = _report(progress.round + 1, replies, metrics, time.monotonic() - began)
    return replace(progress, finished=True), report


def _sites(grid: Grid) -> dict[int, str]:
    """Names come from the registry of nodes, never from a reply."""
    return {node.node_id: node.name for node in sorted(grid.get_nodes(), key=lambda node: node.name)}


def _sampled(nodes: Mapping[int, str], round: int, settings: Settings) -> dict[int, str]:
    count = max(settings.federation.quorum, int(settings.federation.fraction_train * len(nodes) + 0.5), 1)
    if count > len(nodes):
        raise ValueError(
            f"federation.quorum must be at most the number of sites, got {settings.federation.quorum} "
            f"of {len(nodes)}. Lower it, or wait for more sites."
        )
    names = sorted(nodes.values())
    chosen = set(generator(settings.seed, "", round, "sampled sites").choice(names, size=count, replace=False).tolist())
    return {node: name for node, name in nodes.items() if name in chosen}


def _expected(round: int, progress: Progress, settings: Settings) -> Expected:
    federation = settings.federation
    limits = (federation.norm_limit, federation.norm_limit)
    if progress.norms:
        parameters, statistics = (median(column) for column in zip(*progress.norms, strict=True))
        limits = (federation.norm_multiple * parameters, federation.norm_multiple * statistics)
    return Expected(round, progress.weights, limits, federation.max_examples, SHAPES)


def _exchange(  # type: ignore[no-untyped-def]
    grid: Grid, sent: list[Message], nodes: Mapping[int, str], settings: Settings, vet
) -> Replies:
    replies = Replies(bytes_down=sum(wire.size(message.content) for message in sent))
    for message in grid.send_and_receive(sent, timeout=settings.federation.deadline_seconds):
        site = nodes.get(message.metadata.src_node_id)
        if site is None or site in replies.accepted or site in replies.refused:
            log.warning("a reply from a node that was not asked, or a second one, is dropped")
            continue
        found = message.error.reason if message.has_error() else vet(message.content)
        if message.has_content():
            replies.bytes_up += wire.size(message.content)
        if found is not None:
            replies.refused[site] = found
        else:
            replies.accepted[site] = message.content
    replies.accepted = dict(sorted(replies.accepted.items()))
    heard = {*replies.accepted, *replies.refused}
    replies.silent = tuple(name for name in sorted(nodes.values()) if name not in heard)
    return replies


def _choose(
    progress: Progress, tables: Mapping[str, Tables], settings: Settings
) -> tuple[Progress, dict[str, float | None]]:
    """Score the current model, keep it where it is the best so far, and stop where none was for long."""
    found = {site: scores(table) for site, table in tables.items() if table}
    by = settings.federation.choose_by
    here = {site: value for site, metrics in found.items() if (value := metrics.get(by)) is not None}
    best = progress.best
    if not best.scores or _is_better(here, best.scores, settings.federation.quorum):
        best = Scored(progress.round, progress.weights, here)
    waited = progress.round - best.round
    finished = 0 < settings.federation.patience <= waited
    return replace(progress, best=best, finished=finished), _mean_of_sites(found.values())


def _is_better(here: Mapping[str, float], best: Mapping[str, float], quorum: int) -> bool:
    shared = here.keys() & best.keys()
    return len(shared) >= max(quorum, 1) and fmean(here[s] for s in shared) > fmean(best[s] for s in shared)


def _mean_of_sites(found: Iterable[Mapping[str, float | None]]) -> dict[str, float | None]:
    found = list(found)
    names = sorted({name for metrics in found for name in metrics})
    defined = {name: [value for m in found if (value := m.get(name)) is not None] for name in names}
    return {name: fmean(values) if values else None for name, values in defined.items()}


def _median_norms(updates: Iterable[LocalUpdate], start: Weights) -> tuple[float, float]:
    moved = [
        (norm(u.weights.parameters - start.parameters), norm(u.weights.statistics - start.statistics)) for u in updates
    ]
    parameters, statistics = (median(column) for column in zip(*moved, strict=True))
    return parameters, statistics


def _report(round: int, replies: Replies, metrics: Mapping[str, float | None], seconds: float) -> RoundReport:
    return RoundReport(
        round=round,
        accepted=tuple(replies.accepted),
        refused=dict(sorted(replies.refused.items())),
        silent=replies.silent,
        metrics=metrics,
        bytes_up=replies.bytes_up,
        bytes_down=replies.bytes_down,
        seconds=seconds,
    )
