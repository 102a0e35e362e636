"""Simulate a federation: run or resume its rounds in a run folder."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid

from teledx_fed.config.settings import Settings
from teledx_fed.core.examples import Site
from teledx_fed.core.files import make_folder, write_text
from teledx_fed.core.reports import SILENT, Reporter, RoundReport
from teledx_fed.evaluation.operating_points import PooledEvidence, pooled_evidence
from teledx_fed.federation import checkpoint
from teledx_fed.federation.aggregation import PlainAggregation, local_aggregation_of
from teledx_fed.federation.checkpoint import Progress
from teledx_fed.federation.faults import FaultyGrid, check_sites, with_flipped_labels
from teledx_fed.federation.in_process import InProcessGrid, WatchedGrid
from teledx_fed.federation.ray_runtime import hospital_of, ray_grid
from teledx_fed.federation.release import release
from teledx_fed.federation.rounds import rounds
from teledx_fed.federation.scoring import scores_on_test
from teledx_fed.federation.site import Hospital, client_app
from teledx_fed.federation.strategies.registry import local_strategy_of, strategy_of
from teledx_fed.training.worker import SiteModel, Worker, model_for_new_site

LINES, CHECKPOINT = "rounds.jsonl", "checkpoints/latest.safetensors"


@dataclass(frozen=True)
class Federation:
    """Result of the rounds: the best model at each site, and counts of its validation scores; `conclude` tests it."""

    best_round: int
    models: dict[str, SiteModel]
    conclude: Callable[[], None]
    pooled: PooledEvidence | None

    def ensembles(self, sites: Iterable[str]) -> dict[str, list[SiteModel]]:
        """Return the model of each of `sites`; one that did not train gets the mean of the others' own statistics."""
        return {name: [self.models.get(name) or model_for_new_site(list(self.models.values()))] for name in sites}


def federate(
    sites: Mapping[str, Site],
    workers: Sequence[Worker],
    settings: Settings,
    folder: Path,
    reporter: Reporter = SILENT,
) -> Federation:
    """Run the remaining rounds, and write `model.safetensors` (the best round) and `last.safetensors`."""
    worker, *_ = workers
    local_grid = _grid(sites, workers, settings, folder)
    hospitals = _hospitals(sites, worker, settings, folder)
    with _runtime(local_grid, sites, workers, settings, folder) as grid:
        last = coordinate(WatchedGrid(grid, reporter), worker, settings, folder, reporter, local=True)
    best = last.best
    models = {name: hospital.model_after(best.round, best.weights) for name, hospital in hospitals.items()}
    final = [hospital.model_after(last.trained_in, last.weights) for hospital in hospitals.values()]
    worker.save(final, folder / "last.safetensors")
    release(worker, list(models.values()), best, settings, folder / "model.safetensors")
    return Federation(
        best.round, models, lambda: conclude(local_grid, last, settings, folder), pooled_evidence(best.tables)
    )


def _runtime(
    here: Grid, sites: Mapping[str, Site], workers: Sequence[Worker], settings: Settings, folder: Path
) -> AbstractContextManager[Grid]:
    if settings.simulation.backend == "ray":
        return ray_grid(client_app(partial(hospital_of, local=True)), list(sites), settings, folder)
    if not settings.faults.kinds:
        return nullcontext(here)
    check_sites(settings.faults, sites)
    flipped = {name: with_flipped_labels(site) for name, site in sites.items()}
    return nullcontext(FaultyGrid(here, _grid(flipped, workers, settings, folder), settings))


def _grid(sites: Mapping[str, Site], workers: Sequence[Worker], settings: Settings, folder: Path) -> InProcessGrid:
    of_each_worker = [_hospitals(sites, worker, settings, folder) for worker in workers]
    return InProcessGrid([client_app(partial(_hospital, hospitals)) for hospitals in of_each_worker], list(sites))


def _hospitals(sites: Mapping[str, Site], worker: Worker, settings: Settings, folder: Path) -> dict[str, Hospital]:
    return {name: Hospital(site, worker, settings, folder / "sites" / name) for name, site in sites.items()}


def _hospital(hospitals: Mapping[str, Hospital], context: Context) -> Hospital:
    return hospitals[str(context.node_config["site"])]


def coordinate(
    grid: Grid,
    worker: Worker,
    settings: Settings,
    folder: Path,
    reporter: Reporter = SILENT,
    local: bool = False,
) -> Progress:
    """Run the rounds over any grid, as the coordinator; write each to `rounds.jsonl` and to the checkpoint.

    Only a `local` run may use a strategy or an aggregation of another package.
    """
    strategy = local_strategy_of(settings) if local else strategy_of(settings)
    aggregation = local_aggregation_of(settings) if local else PlainAggregation()
    make_folder(folder)
    last = current_progress(folder, worker)
    _delete_after(folder / LINES, last)
    with ThreadPoolExecutor(1) as pool:
        written = pool.submit(lambda: None)
        for progress, report in rounds(grid, strategy, last, settings, folder, aggregation):
            written.result()
            written = pool.submit(
                _keep, folder, progress, report, partial(reporter.round, report, settings.federation.rounds)
            )
            last = progress
        written.result()
    return last


def _keep(folder: Path, progress: Progress, report: RoundReport, announce: Callable[[], None]) -> None:
    """Report a round before writing its checkpoint; after a crash it may be reported twice, never zero times."""
    with (folder / LINES).open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(report)) + "\n")
    announce()
    checkpoint.write(progress, folder / CHECKPOINT)


def conclude(grid: Grid, last: Progress, settings: Settings, folder: Path) -> None:
    """Write `test.json` if it is missing: scores of the best round's model on all test sets, from counts."""
    if not (tested := folder / "test.json").exists():
        estimates = scores_on_test(grid, last, settings)
        write_text(
            tested, json.dumps({name: asdict(e) if e else None for name, e in estimates.items()}, indent=1) + "\n"
        )


def current_progress(folder: Path, worker: Worker) -> Progress:
    """Return the progress in `folder`, from its checkpoint or else the initial weights."""
    if (saved := folder / CHECKPOINT).exists():
        return checkpoint.read(saved, worker.initial.weights.layout)
    return checkpoint.begin(worker.initial.weights)


def _delete_after(lines: Path, progress: Progress) -> None:
    """Delete the lines after the checkpoint: their rounds run again, and the last line may be incomplete."""
    if lines.exists() and not progress.finished:
        write_text(lines, "".join(lines.read_text().splitlines(keepends=True)[: progress.round]))
