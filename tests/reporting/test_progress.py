from collections.abc import Callable

import pytest

from teledx_fed.core.reports import RoundReport
from teledx_fed.reporting.progress import TerminalReporter

Lines = Callable[[], list[str]]
REPORT = RoundReport(
    round=3,
    ended="2026-11-23T09:14:05+00:00",
    accepted=("aravind", "eyepacs"),
    refused={"messidor": "parameters must be finite,\ngot \x1b[31mNaN [bold]:smile:"},
    silent=("ddr",),
    metrics={"referable_auroc": 0.8124, "qwk": None},
    seconds=12.34,
)


@pytest.fixture
def lines(capsys: pytest.CaptureFixture[str]) -> Lines:
    def read() -> list[str]:
        printed = capsys.readouterr()
        assert printed.out == ""  # stdout is for the run folder's path alone
        return printed.err.splitlines()

    return read


def test_a_round_is_one_line_even_if_a_reason_has_control_characters(lines: Lines) -> None:
    with TerminalReporter() as reporter:
        reporter.round(REPORT, 10)
    assert lines() == [
        "round 3/10, started at Referable AUROC 0.812, QWK – · accepted aravind, eyepacs · "
        "refused messidor: parameters must be finite, got  [31mNaN [bold]:smile: · silent ddr · 12.3 s"
    ]


def test_the_report_past_the_last_round_is_of_the_last_model(lines: Lines) -> None:
    with TerminalReporter() as reporter:
        reporter.round(REPORT, 2)
    assert lines()[0].startswith("last model: Referable AUROC 0.812")


def test_a_long_phase_prints_a_line_for_each_quarter(lines: Lines) -> None:
    with TerminalReporter() as reporter:
        reporter.phase("photographs")
        for done in range(1, 1001):
            reporter.progress(done, 1000)
        reporter.phase("test")
        reporter.progress(1, 1)
    quarters = [f"  {done} of 1000" for done in (250, 500, 750, 1000)]
    assert lines() == ["photographs", *quarters, "test", "  1 of 1"]


def test_an_empty_phase_prints_its_name(lines: Lines) -> None:
    with TerminalReporter() as reporter:
        reporter.phase("photographs")
        reporter.progress(0, 0)
    assert lines() == ["photographs"]


def test_a_baseline_is_named_once_and_resumes_anywhere(lines: Lines) -> None:
    with TerminalReporter() as reporter:
        for epoch in (3, 4):
            reporter.epoch("local", "aravind", epoch, 4)
        reporter.epoch("centralised", None, 1, 1)
    assert lines() == [
        "Each hospital alone: aravind",
        "  3 of 4",
        "  4 of 4",
        "All data in one place",
        "  1 of 1",
    ]


def test_a_failing_run_still_prints_its_last_message(lines: Lines) -> None:
    def fail() -> None:
        with TerminalReporter() as reporter:
            reporter.message("before")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    assert lines() == ["before"]
