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
from teledx_fed.evaluation import examined
from teledx_fed.evaluation.examined import Examination, everyone
from teledx_fed.federation.simulation import federate
from teledx_fed.reporting.page import write_page
from teledx_fed.reporting.progress import TerminalReporter
from teledx_fed.reporting.report import Part, write_report
from teledx_fed.reporting.runs import TESTED
from teledx_fed.reporting.tracking import Tracker, tracked
from teledx_fed.reporting.wording import no_bundle, verdict
from teledx_fed.training.baselines import alone_everywhere, committees
from teledx_fed.training.bundling import write_bundles
from teledx_fed.training.examination import examine
from teledx_fed.training.worker import SiteModel, Worker, crew


@dataclass(frozen=True)
class Conducted:
    """A part of the experiment that has come to its end."""

    part: Part
    sites: Mapping[str, Site]
    models: Mapping[str, SiteModel]
    examination: Examination


@dataclass(frozen=True)
class Staff:
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
                workers = crew(folds[0], clock, say_once)  # first: what cannot be had is said before hours go by
            staff = Staff(workers, clock, reporter, track)
            repeats.append([_conducted(part, folder, settings.part_name(part), staff) for part in folds])
        parts = [done for folds in repeats for done in folds]
        reporter.phase("report")
        said = [everyone([done.examination for done in folds]) for folds in repeats]
        report = write_report(folder, settings, [done.part for done in parts], parts[0].sites, said, clock)
        write_page(folder)
        if settings.bundles:
            _bundle(parts, workers[0], settings, folder, reporter)
        track.end(report)
        reporter.message(verdict(report))


def _conducted(settings: Settings, run: Path, name: str, staff: Staff) -> Conducted:
    folder, worker, reporter = run / name, staff.workers[0], staff.reporter
    if name:
        reporter.message(name)
    reporter.phase("photographs")
    with staff.clock("preparation"):
        sites = hospitals(settings, folder, reporter.progress, reporter.message)
    present = settings.partition.present(sites)
    reporter.phase("rounds")
    federation = federate(
        present,
        staff.workers,
        settings,
        folder,
        staff.watching(name),
        lambda site, answered: reporter.site(site, "answered" if answered else "training"),
    )
    if not (folder / TESTED).exists():
        reporter.phase("baselines")
        baselines = committees(sites, worker, settings, folder / "baselines", reporter.epoch)
        matrix = alone_everywhere(baselines.get("local", {}))
        reporter.phase("test")
        federation.conclude()
        models = {"federated": federation.committees(sites), **baselines, **matrix}
        pooled = {"federated": federation.pooled}
        examined.write(examine(worker, sites, models, settings, pooled), folder / TESTED)
    part = Part(name, settings.seed, settings.evaluation.fold, federation.best_round)
    for each in staff.workers:
        each.forget()
    return Conducted(part, sites, federation.models, examined.read(folder / TESTED))


def _bundle(
    parts: Sequence[Conducted], worker: Worker, settings: Settings, folder: Path, reporter: TerminalReporter
) -> None:
    """Of several parts each has a model of its own, and none of them is the one to diagnose with."""
    if missing := no_bundle(len(parts)):
        reporter.message(missing)
        return
    reporter.phase("bundles")
    (only,) = parts
    present, tested = settings.partition.present(only.sites), only.examination.among(["federated"])
    best_round = only.part.best_round
    write_bundles(worker, present, only.models, tested, settings, best_round, folder, reporter.message)
