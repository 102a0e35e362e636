"""Problems in the data, reported all at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from teledx_fed.core.errors import DataError


@dataclass(frozen=True)
class Problem:
    """A problem in a file, or in a row of it (the header is row 1). `photographs` cannot be used because of it.

    A problem that is not `skippable` is an error even with data.on_bad=skip, because photographs may be missing.
    """

    file: str
    message: str
    row: int | None = None
    photographs: tuple[str, ...] = field(default=(), compare=False)
    skippable: bool = field(default=True, compare=False)

    def __str__(self) -> str:
        place = self.file if self.row is None else f"{self.file}, row {self.row}"
        return f"{place}: {self.message}"


class BadData(DataError):
    """An error that lists all problems in the data."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        listed = "\n".join(f"  {problem}" for problem in problems)
        skip = "or skip them with data.on_bad=skip (simulation), on_bad: skip (site.yaml) or --on-bad skip"
        not_skippable = "an error in a folder or setting cannot be skipped, because photographs may be missing"
        remedy = skip if all(problem.skippable for problem in problems) else not_skippable
        super().__init__(f"{amount(problems)} in the data. Correct them; {remedy}:\n{listed}")


def amount(problems: Sequence[Problem]) -> str:
    """Return the number of problems as text, such as `2 problems`."""
    return "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
