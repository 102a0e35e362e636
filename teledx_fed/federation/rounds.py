"""The round loop: a message to each sampled site, a validated update from each, a step of the strategy, a report."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from teledx_fed.config.settings import Settings
from teledx_fed.core.files import make_folder
from teledx_fed.core.reports import RoundReport
from teledx_fed.core.updates import GlobalModel, Tables
from teledx_fed.core.weights import Weights, norm
from teledx_fed.evaluation.tables import SHAPES_OF_HEAD
from teledx_fed.federation import messages as wire
from teledx_fed.federation.checkpoint import Progress
from teledx_fed.federation.first_round import UpdateBuffer
from teledx_fed.federation.scoring import ask_for_scores, choose
from teledx_fed.federation.send_and_collect import Replies, named_sites, sampled, send_and_collect
from teledx_fed.federation.statistics import declarations
from teledx_fed.federation.strategies.strategy import Strategy
from teledx_fed.federation.validation import UpdateSpec, ValidUpdate, validate_update

Take = Callable[[str, ValidUpdate], None]


def rounds(
    grid: Grid, strategy: Strategy[Any], progress: Progress, settings: Settings, scratch: Path
) -> Iterator[tuple[Progress, RoundReport]]:
    """Yield rounds from `progress` on; the last report, one past the last round, scores the last model.

    The updates of the first round lie in the folder `scratch` until all are in.
    """
    while progress.round < settings.federation.rounds and not progress.finished:
        progress, report = _round(grid, strategy, progress, settings, scratch)
        yield progress, report
    if not progress.finished:
        yield _score_last(grid, progress, settings, strategy.max_byzantine)


def _round(
    grid: Grid, strategy: Strategy[Any], progress: Progress, settings: Settings, scratch: Path
) -> tuple[Progress, RoundReport]:
    began = time.monotonic()
    round, start = progress.round + 1, progress.weights
    needed = strategy.needed_replies(strategy.max_byzantine)
    everyone = sampled(named_sites(grid), round, settings, needed)
    declared, asked = declarations(grid, everyone, progress.declared, settings)
    progress = replace(progress, declared=declared)
    nodes = {node: name for node, name in everyone.items() if name in declared}
    model = GlobalModel(round, start, progress.trained_in)
    content = wire.train_request(model, settings.local_training(round))
    sent = [Message(content, dst_node_id=node, message_type=MessageType.TRAIN) for node in nodes]
    expected = _expected(round, progress, settings, strategy.needs_loss)

    def validate(site: str, content: RecordDict) -> ValidUpdate | str:
        return validate_update(content, replace(expected, max_examples=declared[site]))

    accumulator, tables, moved = strategy.accumulator(model), dict[str, Tables](), list[tuple[float, float]]()

    def take(site: str, reply: ValidUpdate) -> None:
        accumulator.add(site, reply.update)
        tables[site] = reply.update.tables
        moved.append(reply.moved)

    if progress.norms:
        replies = send_and_collect(grid, sent, nodes, settings, validate, take)
    else:
        replies = _first(
            partial(send_and_collect, grid, sent, nodes, settings, validate), start, settings, scratch, take
        )
    replies = replies.beside(asked)
    enough = _enough(replies, settings, strategy.max_byzantine)
    progress, metrics = choose(progress, tables, settings, strategy.max_byzantine, void=not enough)
    if enough and not progress.finished:
        weights, memory = strategy.step(progress.memory, accumulator.aggregate())
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


def _enough(replies: Replies, settings: Settings, max_byzantine: int) -> bool:
    """Whether there is a quorum. Sites whose updates were refused count, up to as many as the strategy tolerates."""
    caught = min(replies.caught, max_byzantine)
    return len(replies.accepted) > 0 and len(replies.accepted) + caught >= settings.federation.quorum


def _score_last(grid: Grid, progress: Progress, settings: Settings, max_byzantine: int) -> tuple[Progress, RoundReport]:
    began = time.monotonic()
    model = GlobalModel(progress.round, progress.weights, progress.trained_in)
    replies, tables = ask_for_scores(grid, model, "validation", settings, progress.declared)
    progress, metrics = choose(progress, tables, settings, max_byzantine, void=False)
    report = _report(progress.round + 1, replies, metrics, time.monotonic() - began)
    return replace(progress, finished=True), report


def _expected(round: int, progress: Progress, settings: Settings, loss: bool) -> UpdateSpec:
    """What a reply of this round must look like; how many examples a site may claim, its declaration says.

    Statistics have the scale of activations, so their first limit is a multiple of their own norm.
    """
    federation = settings.federation
    limits = (federation.norm_limit, federation.norm_multiple * norm(progress.weights.statistics))
    if progress.norms:
        parameters, statistics = (median(column) for column in zip(*progress.norms, strict=True))
        limits = (federation.norm_multiple * parameters, federation.norm_multiple * statistics)
    tables = SHAPES_OF_HEAD[settings.model.head]
    return UpdateSpec(round, progress.weights, limits, federation.max_examples, tables, federation.compression, loss)


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
