import os
import pty
import subprocess
import sys
from io import StringIO

from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from teledx_fed.core.reports import RoundReport
from teledx_fed.reporting.live_page import BLOCKS, LivePage, sparkline


def shown(page: LivePage) -> str:
    console = Console(file=StringIO(), width=110, force_terminal=False)
    console.print(page)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text


def report(round: int, auroc: float | None, **what: object) -> RoundReport:
    return RoundReport(round=round, ended="", metrics={"referable_auroc": auroc}, **what)  # type: ignore[arg-type]


def test_the_page_shows_rounds_time_left_learning_curve_and_every_site() -> None:
    clock = iter([0.0, 30.0])
    page = LivePage(now=lambda: next(clock))
    page.begin("rounds")
    for round, auroc in enumerate((0.5, 0.7, 0.9), start=1):
        page.round(report(round, auroc, accepted=("aravind",)), 6)
    page.round(report(4, 0.8, accepted=("aravind",), refused={"ddr": "got\nNaN"}, silent=("eyepacs",)), 6)
    page.site("aravind", "working")
    page.progress(3, 6)
    text = shown(page)
    assert "3/6 30.0 s, 30.0 s left" in text
    assert "Referable AUROC ▁▄█▆ 0.800, best 0.900" in text
    assert "✗ ddr" in text
    assert "refused got NaN" in text
    assert "– eyepacs" in text
    assert "… aravind" in text


def test_many_sites_fit_on_the_terminal() -> None:
    page = LivePage()
    page.begin("rounds")
    names = tuple(f"site-{i:03}" for i in range(200))
    page.round(report(1, None, accepted=names[:-1], refused={names[-1]: "stale"}), 3)
    text = shown(page)
    assert text.count("\n") < 22
    assert "site-199" in text
    assert "and 184 more" in text


@example(scores=[0.0, 5e-324])
@given(st.lists(st.none() | st.floats(-5, 5), min_size=1).filter(lambda scores: any(s is not None for s in scores)))
def test_a_sparkline_is_as_long_as_its_scores_and_as_high_as_its_best(scores: list[float | None]) -> None:
    line, defined = sparkline(scores), [score for score in scores if score is not None]
    assert len(line) == len(scores)
    assert set(line) <= {*BLOCKS, " "}
    if max(defined) > min(defined):
        assert line[scores.index(max(defined))] == BLOCKS[-1]
        assert line[scores.index(min(defined))] == BLOCKS[0]


def test_a_terminal_gets_a_page_and_no_line_for_a_round() -> None:
    program = """
from teledx_fed.core.reports import RoundReport
from teledx_fed.reporting.progress import TerminalReporter
with TerminalReporter() as reporter:
    reporter.phase("rounds")
    reporter.site("north", "working")
    reporter.round(RoundReport(round=1, ended="", accepted=("north",), metrics={"referable_auroc": 0.75}), 2)
"""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "CI": "false", "COLUMNS": "100"}
    process = subprocess.Popen([sys.executable, "-c", program], stderr=theirs, env=environment)
    process.wait(timeout=60)
    os.close(theirs)
    output = b""
    while True:
        try:
            output += os.read(ours, 65536)
        except OSError:
            break
    os.close(ours)
    assert "north" in output.decode()
    assert "0.750, best 0.750" in output.decode()
    assert "accepted north" not in output.decode()
