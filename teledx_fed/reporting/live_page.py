"""Live page of a run on a terminal: phase, time left, learning curve, state of each site."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from teledx_fed.core.formatting import duration, number
from teledx_fed.core.reports import RoundReport, SiteState
from teledx_fed.reporting.wording import METRICS

BLOCKS = "▁▂▃▄▅▆▇█"
WIDEST = 40
MOST_SITES = 16
MARKS: dict[SiteState, tuple[str, str]] = {
    "working": ("…", "cyan"),
    "answered": ("✓", "green"),
    "refused": ("✗", "red"),
    "silent": ("–", "yellow"),
}


@dataclass
class LivePage:
    """State of the page, drawn at each refresh, with the learning curve of `metric`."""

    metric: str = "referable_auroc"
    now: Callable[[], float] = time.monotonic
    phase: str = ""
    done: int = 0
    total: int = 0
    scores: list[float | None] = field(default_factory=list)
    sites: dict[str, tuple[SiteState, str]] = field(default_factory=dict)
    _began: float = 0.0

    def begin(self, phase: str) -> None:
        self.phase, self.done, self.total, self._began = phase, 0, 0, self.now()
        self.scores, self.sites = [], {}

    def progress(self, done: int, total: int) -> None:
        self.done, self.total = done, total

    def site(self, name: str, state: SiteState) -> None:
        self.sites[name] = (state, "")

    def round(self, report: RoundReport, rounds: int) -> None:
        self.progress(min(report.round, rounds), rounds)
        self.scores.append(report.metrics.get(self.metric))
        self.sites |= dict.fromkeys(report.accepted, ("answered", ""))
        self.sites |= {site: ("refused", one_line(reason)) for site, reason in report.refused.items()}
        self.sites |= dict.fromkeys(report.silent, ("silent", ""))

    def __rich__(self) -> Group:
        return Group(self._head(), *self._learning_curve(), *self._sites())

    def _head(self) -> Table:
        head = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self.total or None, completed=self.done, width=WIDEST, pulse=not self.total)
        count = f"{self.done}/{self.total}" if self.total else ""
        head.add_row(Text(one_line(self.phase)), bar, Text(count), Text(self._time()))
        return head

    def _time(self) -> str:
        elapsed = self.now() - self._began
        if not 0 < self.done < self.total:
            return duration(elapsed)
        return f"{duration(elapsed)}, {duration(elapsed / self.done * (self.total - self.done))} left"

    def _learning_curve(self) -> Iterable[Text]:
        defined = [score for score in self.scores if score is not None]
        if defined:
            latest = f"{number(self.scores[-1], '.3f')}, best {number(max(defined), '.3f')}"
            yield Text.assemble(f"{METRICS[self.metric]} ", (sparkline(self.scores[-WIDEST:]), "cyan"), f" {latest}")

    def _sites(self) -> Iterable[Table | Text]:
        """Show silent and refused sites first."""
        order = list(reversed(MARKS))
        ordered = sorted(self.sites.items(), key=lambda named: (order.index(named[1][0]), named[0]))
        table = Table.grid(padding=(0, 2))
        for site, (state, detail) in ordered[:MOST_SITES]:
            mark, colour = MARKS[state]
            table.add_row(Text(f"{mark} {one_line(site)}", style=colour), Text(f"{state} {detail}".strip()))
        yield table
        if len(ordered) > MOST_SITES:
            yield Text(f"and {len(ordered) - MOST_SITES} more")


def sparkline(scores: Sequence[float | None]) -> str:
    """Draw scores as a line of block characters, with a space where a score is missing."""
    defined = [score for score in scores if score is not None]
    low, high = min(defined), max(defined)
    span = high - low or 1
    top = len(BLOCKS) - 1
    return "".join(" " if score is None else BLOCKS[round((score - low) / span * top)] for score in scores)


def one_line(text: str) -> str:
    """Replace line breaks and control characters, which a site can send, by spaces."""
    return "".join(sign if sign.isprintable() else " " for sign in text)
