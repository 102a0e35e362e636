"""An experiment in one process: a federation for each seed and fold, its baselines, one report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from teledx_fed.config.settings import Settings
from teledx_fed.core.clock import Clock
from teledx_fed.core.examples import Site
from teledx_fed.core.reports import SILENT, Reporter, RoundReport, SilentReporter, SiteState
from teledx_fed.data.hospitals import hospitals
from teledx_fed.evaluation import test_predictions
from teledx_fed.evaluation.test_predictions import Evaluation, concatenate_folds
from teledx_fed.federation.simulation import federate
from teledx_fed.federation.strategies.registry import local_strategy_of
from teledx_fed.reporting.page import write_page
from teledx_fed.reporting.progress import TerminalReporter
from teledx_fed.reporting.report import write_report
from teledx_fed.reporting.runs import TESTED
from teledx_fed.reporting.schema import Part
from teledx_fed.reporting.tracking import Tracker, tracked
from teledx_fed.reporting.wording import no_bundle, verdict
from teledx_fed.training.baselines import local_models_everywhere, train_baselines
from teledx_fed.training.bundling import TrainingFacts, write_bundles
from teledx_fed.training.evaluate import evaluate
from teledx_fed.training.worker import SiteModel, Worker, build_workers


@dataclass(frozen=True)
class FinishedPart:
    """A finished part of the experiment: one seed and fold."""

    part: Part
    sites: Mapping[str, Site]
    models: Mapping[str, SiteModel]
    evaluation: Evaluation


@dataclass(frozen=True)
class SharedContext:
    """What all folds of a seed share."""

    workers: Sequence[Worker]
    clock: Clock
    reporter: Reporter
    track: Tracker


class PartReporter(SilentReporter):
    """Reports a federation to the terminal, and its rounds also to the tracker."""

    def __init__(self, reporter: Reporter, tracker: Tracker, part: str) -> None:
        self._reporter, self._tracker, self._part = reporter, tracker, part

    def message(self, text: str) -> None:
        self._reporter.message(text)

    def site(self, name: str, state: SiteState) -> None:
        self._reporter.site(name, state)

    def round(self, report: RoundReport, rounds: int) -> None:
        self._reporter.round(report, rounds)
        self._tracker.round(self._part, report)


def run_experiment(settings: Settings, folder: Path) -> None:
    """Run an experiment, or resume it: finished parts are read from `folder`."""
    local_strategy_of(settings)  # refuse settings that do not fit the strategy before any work
    clock = Clock()
    with tracked(settings, folder) as track, TerminalReporter(settings.federation.choose_by) as reporter:
        repeats: list[list[FinishedPart]] = []
        for folds in settings.repeats():
            reporter.phase("photographs")
            with clock("preparation"):
                # first, so that a missing GPU ends the run at once
                workers = build_workers(folds[0], clock, SILENT if repeats else reporter)
            context = SharedContext(workers, clock, reporter, track)
            repeats.append([_run_part(part, folder, settings.part_name(part), context) for part in folds])
        parts = [part for folds in repeats for part in folds]
        reporter.phase("report")
        evaluations = [concatenate_folds([part.evaluation for part in folds]) for folds in repeats]
        report = write_report(folder, settings, [part.part for part in parts], parts[0].sites, evaluations, clock)
        write_page(folder)
        if settings.bundles:
            _write_bundles(parts, workers[0], settings, folder, reporter)
        track.end(report)
        reporter.message(verdict(report))


def _run_part(settings: Settings, run: Path, name: str, context: SharedContext) -> FinishedPart:
    folder, worker, reporter = run / name, context.workers[0], context.reporter
    if name:
        reporter.message(name)
    reporter.phase("photographs")
    with context.clock("preparation"):
        sites = hospitals(settings, folder, reporter)
    present = settings.partition.present(sites)
    reporter.phase("rounds")
    federation = federate(
        present,
        context.workers,
        settings,
        folder,
        PartReporter(reporter, context.track, name),
    )
    if not (folder / TESTED).exists():
        reporter.phase("baselines")
        baselines = train_baselines(sites, worker, settings, folder / "baselines", reporter)
        matrix = local_models_everywhere(baselines.get("local", {}))
        reporter.phase("test")
        federation.conclude()
        models = {"federated": federation.ensembles(sites), **baselines, **matrix}
        pooled = {"federated": federation.pooled}
        test_predictions.write(evaluate(worker, sites, models, settings, pooled), folder / TESTED)
    part = Part(name, settings.seed, settings.evaluation.fold, federation.best_round)
    for worker in context.workers:
        worker.clear_inputs()
    return FinishedPart(part, sites, federation.models, test_predictions.read(folder / TESTED))


def _write_bundles(
    parts: Sequence[FinishedPart], worker: Worker, settings: Settings, folder: Path, reporter: Reporter
) -> None:
    """Write bundles, unless the run has several parts: then no single model is for diagnosis."""
    if missing := no_bundle(len(parts)):
        reporter.message(missing)
        return
    reporter.phase("bundles")
    (only,) = parts
    present, tested = settings.partition.present(only.sites), only.evaluation.among(["federated"])
    trained: TrainingFacts = {
        "network": settings.model.name,
        "hospitals": len(present),
        "best_round": only.part.best_round,
    }
    write_bundles(worker, present, only.models, tested, settings.data, trained, folder, reporter)
