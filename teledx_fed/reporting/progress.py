"""What a person sees while a run goes on: a page on a terminal, plain lines elsewhere, all on standard error."""

import os
import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live

from teledx_fed.core.formatting import duration, number
from teledx_fed.core.reports import RoundReport
from teledx_fed.evaluation.metrics import PRIMARY
from teledx_fed.reporting.live_page import LivePage, one_line
from teledx_fed.reporting.wording import METRICS, MODELS

PER_SECOND = 4


class Display:
    """A context: within it, what is done is a page on a terminal, or at most four lines a phase and one a round."""

    def __init__(self, watched: str = PRIMARY[0]) -> None:
        self._live = sys.stderr.isatty() and os.environ.get("CI") != "true"
        self._console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
        self._page = LivePage(watched)
        self._shown = Live(self._page, console=self._console, refresh_per_second=PER_SECOND, transient=True)
        self._quarter = 0
        self._phase = ""

    def __enter__(self) -> Self:
        if self._live:
            self._shown.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shown.stop()

    def say(self, line: str) -> None:
        self._console.print(one_line(line))

    def phase(self, name: str) -> None:
        self._page.begin(name)
        self._quarter = 0
        if name != self._phase:
            self.say(name)
        self._phase = name

    def advance(self, done: int, total: int) -> None:
        self._page.advance(done, total)
        quarter = 4 * done // max(total, 1)
        if not self._live and quarter > self._quarter:
            self.say(f"  {done} of {total}")
        self._quarter = quarter

    def heard(self, site: str, answered: bool) -> None:
        """That a site was asked, or has answered."""
        self._page.heard(site, answered)

    def round(self, report: RoundReport, rounds: int) -> None:
        """The last report, one past the last round, only scores the last model."""
        self._page.ended(report, rounds)
        if not self._live:
            self.say(_told(report, rounds))

    def baseline(self, name: str, site: str | None, epoch: int, epochs: int) -> None:
        title = MODELS[name] if site is None else f"{MODELS[name]}: {site}"
        if title != self._page.phase:
            self.phase(title)
        self.advance(epoch, epochs)


def _told(report: RoundReport, rounds: int) -> str:
    started = ", ".join(f"{METRICS[name]} {number(report.metrics.get(name), '.3f')}" for name in PRIMARY)
    last = report.round > rounds
    return " · ".join(
        [
            f"last model: {started}" if last else f"round {report.round}/{rounds}, started at {started}",
            f"accepted {', '.join(report.accepted) or 'none'}",
            *(f"refused {site}: {reason}" for site, reason in report.refused.items()),
            *(f"silent {site}" for site in report.silent),
            *(["no quorum: the model stays as it was"] if report.void else []),
            duration(report.seconds),
        ]
    )
