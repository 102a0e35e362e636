"""Federated scores: of each round's model on the validation sets, and of the best round's model on the test sets."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from statistics import fmean

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from teledx_fed.config.federation import FederationSettings
from teledx_fed.config.settings import Settings
from teledx_fed.core.randomness import generator
from teledx_fed.core.updates import GlobalModel, Tables
from teledx_fed.evaluation.intervals import Estimate, table_intervals
from teledx_fed.evaluation.tables import add, evidence_counts, scores
from teledx_fed.federation import messages as wire
from teledx_fed.federation.checkpoint import Progress, Scored
from teledx_fed.federation.data_summaries import declarations
from teledx_fed.federation.replies import scores_spec, validate_tables
from teledx_fed.federation.send_and_collect import Replies, named_sites, send_and_collect

Means = dict[str, float | None]


def ask_for_scores(
    grid: Grid, model: GlobalModel, split: wire.Split, settings: Settings, declared: Mapping[str, int]
) -> tuple[Replies, dict[str, Tables]]:
    """Ask every site to score `model` on `split`; return the replies, and the tables of each site.

    The server refuses tables that count more eyes than the site declared. It first asks for missing declarations.
    """
    nodes = named_sites(grid)
    declared, _ = declarations(grid, nodes, declared, settings.federation)
    content = wire.score_request(model, split)
    sent = [Message(content, dst_node_id=node, message_type=MessageType.EVALUATE) for node in nodes]
    tables: dict[str, Tables] = {}

    def validate(site: str, content: RecordDict) -> Tables | str:
        spec = scores_spec(settings.model.head, declared.get(site, 0), test=split == "test")
        return validate_tables(content, spec)

    return send_and_collect(grid, sent, nodes, settings.federation, validate, tables.__setitem__), dict(
        sorted(tables.items())
    )


def scores_on_test(grid: Grid, progress: Progress, settings: Settings) -> dict[str, Estimate | None]:
    """Return each metric of the best round's model on all test sets together, with its interval, from counts."""
    best = progress.best
    model = GlobalModel(progress.round, best.weights, best.round)
    _, sent = ask_for_scores(grid, model, "test", settings, progress.declared)
    effects = [wire.effects_of(counts) for counts in sent.values()]
    tables = [
        {name: table for name, table in counts.items() if name != wire.DESIGN_EFFECTS} for counts in sent.values()
    ]
    drawn = generator(settings.seed, purpose="resampled tables")
    return table_intervals(tables, effects, settings.evaluation.replicates, drawn)


def choose(
    progress: Progress, tables: Mapping[str, Tables], settings: FederationSettings, max_byzantine: int, void: bool
) -> tuple[Progress, Means]:
    """Score the current model; keep it if it is the best so far; finish after `patience` rounds without a better one.

    `max_byzantine` sites may lack scores, because the server refused their replies. After a `void` round the same model
    is scored again, so the round does not count for `patience`.
    """
    metrics = {site: scores(table) for site, table in sorted(tables.items()) if table}
    by = settings.choose_by
    here = {site: value for site, values in metrics.items() if (value := values.get(by)) is not None}
    fewest = max(1, settings.quorum - max_byzantine)
    sent = [tables[site] for site in sorted(tables)]
    current = Scored(progress.trained_in, progress.weights, here, add(sent), evidence_counts(sent))
    progress = _compared(progress, current, fewest, max(1, max_byzantine), void)
    finished = 0 < settings.patience <= progress.waited
    return replace(progress, finished=finished), _mean_of_sites(list(metrics.values()))


def _compared(progress: Progress, current: Scored, fewest: int, liars: int, void: bool) -> Progress:
    """Compare with the best model so far, by the trimmed mean gain over the sites that scored both.

    The mean is trimmed because a site can claim any score. Until `fewest` sites have scores, the latest model is best.
    """
    best, here = progress.best.scores, current.scores
    if not best:
        return replace(progress, best=replace(current, scores=here if len(here) >= fewest else {}))
    shared = here.keys() & best.keys()
    if len(shared) < fewest:
        return progress
    if trimmed_mean([here[site] - best[site] for site in shared], liars) > 0:
        return replace(progress, best=current, waited=0)
    is_best = progress.trained_in == progress.best.round
    return progress if void or is_best else replace(progress, waited=progress.waited + 1)


def trimmed_mean(values: Iterable[float], trim: int) -> float:
    """Return the mean without the `trim` lowest and highest values, or the median if too few would remain."""
    ordered = sorted(values)
    trim = min(trim, (len(ordered) - 1) // 2)
    return fmean(ordered[trim : len(ordered) - trim])


def _mean_of_sites(sites: Iterable[Mapping[str, float | None]]) -> Means:
    sites = list(sites)
    names = sorted({name for metrics in sites for name in metrics})
    defined = {name: [value for m in sites if (value := m.get(name)) is not None] for name in names}
    return {name: fmean(values) if values else None for name, values in defined.items()}
