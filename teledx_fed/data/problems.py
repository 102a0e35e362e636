"""Problems in the data, reported all at once."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from teledx_fed.core.errors import DataError


@dataclass(frozen=True)
class Problem:
    """A problem at a file or row, where the header is row 1; `photographs` are those that it excludes.

    A problem that is not `skippable` hides an unknown number of photographs, so data.on_bad=skip does not skip it.
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
    """An error with every problem in the data."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        listed = "\n".join(f"  {problem}" for problem in problems)
        skip = "or skip them: data.on_bad=skip in a simulation, on_bad: skip in site.yaml, or --on-bad skip"
        hidden = "a folder or setting with an error hides photographs, so it cannot be skipped"
        remedy = skip if all(problem.skippable for problem in problems) else hidden
        super().__init__(f"{amount(problems)} in the data. Correct them; {remedy}:\n{listed}")


def amount(problems: Sequence[Problem]) -> str:
    """Write the number of problems."""
    return "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
