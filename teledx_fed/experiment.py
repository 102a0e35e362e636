"""A whole experiment in this process: a federation for each seed and fold, its baselines, one report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from teledx_fed.config.settings import Settings
from teledx_fed.core.clock import Clock
from teledx_fed.core.examples import Site
from teledx_fed.core.reports import RoundReport
from teledx_fed.data.hospitals import hospitals
from teledx_fed.evaluation import test_predictions
from teledx_fed.evaluation.test_predictions import Evaluation, concatenate_folds
from teledx_fed.federation.simulation import federate
from teledx_fed.reporting.page import write_page
from teledx_fed.reporting.progress import TerminalReporter
from teledx_fed.reporting.report import Part, write_report
from teledx_fed.reporting.runs import TESTED
from teledx_fed.reporting.tracking import Tracker, tracked
from teledx_fed.reporting.wording import no_bundle, verdict
from teledx_fed.training.baselines import local_models_everywhere, train_baselines
from teledx_fed.training.bundling import write_bundles
from teledx_fed.training.evaluate import evaluate
from teledx_fed.training.worker import SiteModel, Worker, build_workers


@dataclass(frozen=True)
class Conducted:
    """A part of the experiment that has come to its end."""

    part: Part
    sites: Mapping[str, Site]
    models: Mapping[str, SiteModel]
    evaluation: Evaluation


@dataclass(frozen=True)
class Context:
    """Who works for every fold of a seed, and who is told of it."""

    workers: Sequence[Worker]
    clock: Clock
    reporter: TerminalReporter
    track: Tracker

    def watching(self, part: str) -> Callable[[RoundReport, int], None]:
        def watch(report: RoundReport, rounds: int) -> None:
            self.reporter.round(report, rounds)
            self.track.round(part, report)

        return watch


def conduct(settings: Settings, folder: Path) -> None:
    """From wherever `folder` stands; a part that was finished there is read back."""
    clock = Clock()
    with tracked(settings, folder) as track, TerminalReporter(settings.federation.choose_by) as reporter:
        repeats, say_once = [], cache(reporter.message)
        for folds in settings.repeats():
            reporter.phase("photographs")
            with clock("preparation"):
                workers = build_workers(
                    folds[0], clock, say_once
                )  # first: what cannot be had is said before hours go by
            context = Context(workers, clock, reporter, track)
            repeats.append([_conducted(part, folder, settings.part_name(part), context) for part in folds])
        parts = [done for folds in repeats for done in folds]
        reporter.phase("report")
        said = [concatenate_folds([done.evaluation for done in folds]) for folds in repeats]
        report = write_report(folder, settings, [done.part for done in parts], parts[0].sites, said, clock)
        write_page(folder)
        if settings.bundles:
            _bundle(parts, workers[0], settings, folder, reporter)
        track.end(report)
        reporter.message(verdict(report))


def _conducted(settings: Settings, run: Path, name: str, context: Context) -> Conducted:
    folder, worker, reporter = run / name, context.workers[0], context.reporter
    if name:
        reporter.message(name)
    reporter.phase("photographs")
    with context.clock("preparation"):
        sites = hospitals(settings, folder, reporter.progress, reporter.message)
    present = settings.partition.present(sites)
    reporter.phase("rounds")
    federation = federate(
        present,
        context.workers,
        settings,
        folder,
        context.watching(name),
        lambda site, answered: reporter.site(site, "answered" if answered else "training"),
    )
    if not (folder / TESTED).exists():
        reporter.phase("baselines")
        baselines = train_baselines(sites, worker, settings, folder / "baselines", reporter.epoch)
        matrix = local_models_everywhere(baselines.get("local", {}))
        reporter.phase("test")
        federation.conclude()
        models = {"federated": federation.ensembles(sites), **baselines, **matrix}
        pooled = {"federated": federation.pooled}
        test_predictions.write(evaluate(worker, sites, models, settings, pooled), folder / TESTED)
    part = Part(name, settings.seed, settings.evaluation.fold, federation.best_round)
    for each in context.workers:
        each.clear_inputs()
    return Conducted(part, sites, federation.models, test_predictions.read(folder / TESTED))


def _bundle(
    parts: Sequence[Conducted], worker: Worker, settings: Settings, folder: Path, reporter: TerminalReporter
) -> None:
    """Of several parts each has a model of its own, and none of them is the one to diagnose with."""
    if missing := no_bundle(len(parts)):
        reporter.message(missing)
        return
    reporter.phase("bundles")
    (only,) = parts
    present, tested = settings.partition.present(only.sites), only.evaluation.among(["federated"])
    best_round = only.part.best_round
    write_bundles(worker, present, only.models, tested, settings, best_round, folder, reporter.message)
