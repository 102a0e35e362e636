"""Record of a run's questions to a hospital: one for each round, one for the last model's scores, one on the test set.

The hospital answers a question again if its bytes are the same, so that a run can be resumed, and refuses a different
question for the same round. The record is written before anything is computed, so that a crash loses no entry.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from teledx_fed.core.files import write_text
from teledx_fed.deployment.common.refusal import Refusal
from teledx_fed.deployment.site.settings import SiteDirectory


class QuestionKind(StrEnum):
    ROUND = "round"
    VALIDATION = "validation"
    TEST = "test"


@dataclass(frozen=True)
class Question:
    """A question; `digest` is of the whole message, `trained_in` the round that made the model."""

    kind: QuestionKind
    round: int
    trained_in: int
    digest: str

    @property
    def slot(self) -> str:
        return f"{QuestionKind.ROUND} {self.round}" if self.kind == QuestionKind.ROUND else self.kind


def refusal(
    directory: SiteDirectory, run: str, plan: str, question: Question, rounds: int, runs: int
) -> Refusal | None:
    """Return why a question is refused; `rounds` are those of the plan, `runs` the approved number of runs."""
    return decide(_history(directory, run), question, plan, rounds, room=len(runs_of(directory, plan)) < runs)


def decide(history: Mapping[str, Any], question: Question, plan: str, rounds: int, room: bool) -> Refusal | None:
    """Decide from the run's record `history`; `room` is whether a run without a record may begin."""
    if not history and not room:
        return Refusal.RUNS
    if history and history["plan"] != plan:
        return Refusal.RUN
    digests: Mapping[str, str] = history["asked"] if history else {}
    if question.slot in digests:
        return None if digests[question.slot] == question.digest else Refusal.ASKED
    return None if _comes_next(question, digests, rounds) else Refusal.ORDER


def _comes_next(question: Question, digests: Mapping[str, str], rounds: int) -> bool:
    """Return whether a question is in order: rounds only increase, may be missed, and end with the final scores."""
    latest = max((int(slot.split()[1]) for slot in digests if slot.startswith(QuestionKind.ROUND)), default=0)
    if question.kind == QuestionKind.ROUND:
        ended = bool({QuestionKind.VALIDATION, QuestionKind.TEST} & digests.keys())
        return latest < question.round <= rounds and 0 <= question.trained_in < question.round and not ended
    last = question.round == rounds if question.kind == QuestionKind.VALIDATION else latest <= question.round <= rounds
    return (
        last
        and 0 <= question.trained_in <= question.round
        and (question.kind == QuestionKind.TEST or QuestionKind.TEST not in digests)
    )


def record(directory: SiteDirectory, run: str, plan: str, question: Question) -> None:
    digests = {**_history(directory, run).get("asked", {}), question.slot: question.digest}
    write_text(directory.run(run) / "questions.json", json.dumps({"plan": plan, "asked": digests}))


def runs_of(directory: SiteDirectory, plan: str) -> list[str]:
    """Return the plan's runs that asked a question."""
    files = directory.state.glob("runs/*/questions.json")
    return sorted(file.parent.name for file in files if json.loads(file.read_text())["plan"] == plan)


def _history(directory: SiteDirectory, run: str) -> dict[str, Any]:
    file = directory.run(run) / "questions.json"
    return json.loads(file.read_text()) if file.exists() else {}


def answered_on(directory: SiteDirectory, day: date) -> int:
    last = json.loads(directory.answered.read_text()) if directory.answered.exists() else {}
    return int(last["answered"]) if last.get("day") == day.isoformat() else 0


def count(directory: SiteDirectory, day: date) -> None:
    write_text(directory.answered, json.dumps({"day": day.isoformat(), "answered": answered_on(directory, day) + 1}))
