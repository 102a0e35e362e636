"""What a person sees while a run goes on: bars on a terminal, plain lines elsewhere, all on standard error."""

import os
import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from teledx_fed.amounts import duration, number
from teledx_fed.records import RoundReport
from teledx_fed.reporting.wording import METRICS, MODELS

WATCHED = ("referable_auroc", "qwk")


class Display:
    """A context: within it, what is done is a bar on a terminal, or at most four lines a phase."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty() and os.environ.get("CI") != "true"
        self._console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._live,
        )
        self._task = self._bar.add_task("", visible=False)
        self._phase, self._quarter = "", 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        self._console.print(_one_line(line))

    def phase(self, name: str) -> None:
        self._phase, self._quarter = name, 0
        self.say(name)
        self._bar.remove_task(self._task)
        self._task = self._bar.add_task(_one_line(name), total=None)

    def advance(self, done: int, total: int) -> None:
        self._bar.update(self._task, completed=done, total=total)
        quarter = 4 * done // max(total, 1)
        if not self._live and quarter > self._quarter:
            self.say(f"  {done} of {total}")
        self._quarter = quarter

    def round(self, report: RoundReport, rounds: int) -> None:
        """The last report, one past the last round, only scores the last model."""
        started = [f"{METRICS[name]} {number(report.metrics.get(name), '.3f')}" for name in WATCHED]
        last = report.round > rounds
        told = [
            f"last model: {', '.join(started)}"
            if last
            else f"round {report.round}/{rounds}, started at {', '.join(started)}",
            f"accepted {', '.join(report.accepted) or 'none'}",
            *(f"refused {site}: {reason}" for site, reason in report.refused.items()),
            *(f"silent {site}" for site in report.silent),
            *(["no quorum: the model stays as it was"] if report.void else []),
            duration(report.seconds),
        ]
        self.say(" · ".join(told))
        self._bar.update(self._task, completed=min(report.round, rounds), total=rounds)

    def baseline(self, name: str, site: str | None, epoch: int, epochs: int) -> None:
        title = MODELS[name] if site is None else f"{MODELS[name]}: {site}"
        if title != self._phase:
            self.phase(title)
        self.advance(epoch, epochs)


def _one_line(text: str) -> str:
    """Whatever a site wrote: no line break, no control sequence for the terminal."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
