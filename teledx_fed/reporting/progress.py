"""Terminal reporter of a long task: a live page on a terminal, plain lines elsewhere, all on standard error."""

import os
import sys
from typing import Self

from rich.console import Console
from rich.live import Live

from teledx_fed.core.formatting import duration, number
from teledx_fed.core.reports import RoundReport, SiteState
from teledx_fed.evaluation.metrics import PRIMARY
from teledx_fed.reporting.live_page import LivePage, one_line
from teledx_fed.reporting.wording import METRICS, MODELS

PER_SECOND = 4


class TerminalReporter:
    """A context manager that shows a live page, or prints at most four lines a phase and one line a round."""

    def __init__(self, watched: str = PRIMARY[0]) -> None:
        self._live = sys.stderr.isatty() and os.environ.get("CI") != "true"
        self._console = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)
        self._page = LivePage(watched)
        self._display = Live(self._page, console=self._console, refresh_per_second=PER_SECOND, transient=True)
        self._quarter = 0
        self._phase = ""

    def __enter__(self) -> Self:
        if self._live:
            self._display.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._display.stop()

    def message(self, text: str) -> None:
        self._console.print(one_line(text))

    def phase(self, name: str) -> None:
        self._page.begin(name)
        self._quarter = 0
        if name != self._phase:
            self.message(name)
        self._phase = name

    def progress(self, done: int, total: int) -> None:
        self._page.progress(done, total)
        quarter = 4 * done // max(total, 1)
        if not self._live and quarter > self._quarter:
            self.message(f"  {done} of {total}")
        self._quarter = quarter

    def site(self, name: str, state: SiteState) -> None:
        self._page.site(name, state)

    def round(self, report: RoundReport, rounds: int) -> None:
        self._page.round(report, rounds)
        if not self._live:
            self.message(_round_line(report, rounds))

    def epoch(self, baseline: str, site: str | None, done: int, total: int) -> None:
        title = MODELS[baseline] if site is None else f"{MODELS[baseline]}: {site}"
        if title != self._page.phase:
            self.phase(title)
        self.progress(done, total)


def _round_line(report: RoundReport, rounds: int) -> str:
    started = ", ".join(f"{METRICS[name]} {number(report.metrics.get(name), '.3f')}" for name in PRIMARY)
    last = report.round > rounds
    return " · ".join(
        [
            f"last model: {started}" if last else f"round {report.round}/{rounds}, started at {started}",
            f"accepted {', '.join(report.accepted) or 'none'}",
            *(f"refused {site}: {reason}" for site, reason in report.refused.items()),
            *(f"silent {site}" for site in report.silent),
            *(["no quorum: the model does not change"] if report.void else []),
            duration(report.seconds),
        ]
    )
