"""The round loop: one message a round to each sampled site, vetted replies to the strategy, a report a round."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from flwr.app import RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from teledx_fed.config.settings import Settings
from teledx_fed.core.files import make_folder
from teledx_fed.core.reports import RoundReport
from teledx_fed.core.updates import GlobalModel, Tables
from teledx_fed.core.weights import Weights, norm
from teledx_fed.evaluation.tables import SHAPES_OF_HEAD
from teledx_fed.federation import messages as wire
from teledx_fed.federation.checkpoint import Progress
from teledx_fed.federation.exchange import Replies, exchange, named_sites, sampled
from teledx_fed.federation.first_round import UpdateBuffer
from teledx_fed.federation.scoring import ask_for_scores, choose
from teledx_fed.federation.statistics import declarations
from teledx_fed.federation.strategies import aggregate, configure, folding, remembered, remind
from teledx_fed.federation.vetting import Expected, Vetted, vetted

Take = Callable[[str, Vetted], None]


def rounds(
    grid: Grid, strategy: FedAvg, progress: Progress, settings: Settings, scratch: Path
) -> Iterator[tuple[Progress, RoundReport]]:
    """Yield rounds from `progress` on; the last report, one past the last round, scores the last model.

    The updates of the first round lie in the folder `scratch` until all are in.
    """
    remind(strategy, progress.memory)
    while progress.round < settings.federation.rounds and not progress.finished:
        progress, report = _round(grid, strategy, progress, settings, scratch)
        yield progress, report
    if not progress.finished:
        yield _score_last(grid, progress, settings)


def _round(
    grid: Grid, strategy: FedAvg, progress: Progress, settings: Settings, scratch: Path
) -> tuple[Progress, RoundReport]:
    began = time.monotonic()
    round, start = progress.round + 1, progress.weights
    everyone = sampled(named_sites(grid), round, settings)
    declared, asked = declarations(grid, everyone, progress.declared, settings)
    progress = replace(progress, declared=declared)
    nodes = {node: name for node, name in everyone.items() if name in declared}
    config = wire.asking(GlobalModel(round, start, progress.trained_in), settings.local_training(round))
    sent = configure(strategy, round, start, config, nodes)
    statistics = wire.vector(start.statistics, wire.STATISTICS)
    for message in sent:
        message.content[wire.STATISTICS] = statistics
    expected = _expected(round, progress, settings)

    def vet(site: str, content: RecordDict) -> Vetted | str:
        return vetted(content, replace(expected, max_examples=declared[site]))

    fold, tables, moved = folding(start, settings), dict[str, Tables](), list[tuple[float, float]]()

    def take(site: str, reply: Vetted) -> None:
        fold.add(site, reply.update)
        tables[site] = reply.update.tables
        moved.append(reply.moved)

    if progress.norms:
        replies = exchange(grid, sent, nodes, settings, vet, take)
    else:
        replies = _first(partial(exchange, grid, sent, nodes, settings, vet), start, settings, scratch, take)
    replies = replies.beside(asked)
    enough = _enough(replies, settings)
    progress, metrics = choose(progress, tables, settings, void=not enough)
    if enough and not progress.finished:
        weights = aggregate(strategy, round, fold, start, sent[0], settings.strategy)
        memory = remembered(strategy, settings.strategy.name)
        progress = replace(progress, weights=weights, trained_in=round, memory=memory, norms=_with(progress, moved))
    report = _report(round, replies, metrics, time.monotonic() - began)
    return replace(progress, round=round), replace(report, void=not enough)


def _first(
    exchanged: Callable[[Take], Replies], start: Weights, settings: Settings, scratch: Path, take: Take
) -> Replies:
    """Exchange, then refuse the updates that moved much further than the median, and `take` the others."""
    make_folder(scratch)
    with TemporaryDirectory(dir=scratch, prefix="first_round_") as folder:
        buffer = UpdateBuffer(Path(folder), start)
        replies = exchanged(buffer.add)
        refused = buffer.too_far(settings.federation.norm_multiple)
        for site, update in buffer.read():
            if site not in refused:
                take(site, update)
    return replies.without(refused)


def _enough(replies: Replies, settings: Settings) -> bool:
    """A quorum, to which a robust strategy counts those that were caught among the faulty that it bears."""
    caught = min(replies.caught, settings.strategy.borne)
    return len(replies.accepted) > 0 and len(replies.accepted) + caught >= settings.federation.quorum


def _score_last(grid: Grid, progress: Progress, settings: Settings) -> tuple[Progress, RoundReport]:
    began = time.monotonic()
    model = GlobalModel(progress.round, progress.weights, progress.trained_in)
    replies, tables = ask_for_scores(grid, model, "validation", settings, progress.declared)
    progress, metrics = choose(progress, tables, settings, void=False)
    report = _report(progress.round + 1, replies, metrics, time.monotonic() - began)
    return replace(progress, finished=True), report


def _expected(round: int, progress: Progress, settings: Settings) -> Expected:
    """What a reply of this round must look like; how many examples a site may claim, its declaration says.

    Statistics have the scale of activations, so their first limit is a multiple of their own norm.
    """
    federation = settings.federation
    limits = (federation.norm_limit, federation.norm_multiple * norm(progress.weights.statistics))
    if progress.norms:
        parameters, statistics = (median(column) for column in zip(*progress.norms, strict=True))
        limits = (federation.norm_multiple * parameters, federation.norm_multiple * statistics)
    tables = SHAPES_OF_HEAD[settings.model.head]
    loss = settings.strategy.name in wire.WEIGHED_BY_LOSS
    return Expected(round, progress.weights, limits, federation.max_examples, tables, federation.compression, loss)


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
