"""A reporter that records messages and progress for tests."""

from teledx_fed.core.reports import RoundReport, SilentReporter


class RecordingReporter(SilentReporter):
    def __init__(self) -> None:
        self.messages: list[str] = []
        self.counts: list[tuple[int, int]] = []
        self.rounds: list[RoundReport] = []
        self.epochs: list[int] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def progress(self, done: int, total: int) -> None:
        self.counts.append((done, total))

    def round(self, report: RoundReport, rounds: int) -> None:
        self.rounds.append(report)

    def epoch(self, baseline: str, site: str | None, done: int, total: int) -> None:
        self.epochs.append(done)
