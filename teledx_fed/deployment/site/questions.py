"""Record of a run's questions to a hospital: one for each round, one for the last model's scores, one on the test set.

The hospital answers a question again if its bytes are the same, so that a run can be resumed, and refuses a different
question for the same round. The record is written before anything is computed, so that a crash loses no entry.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from teledx_fed.core.files import write_text
from teledx_fed.deployment.common.refusal import Refusal
from teledx_fed.deployment.site.settings import SiteDirectory

TRAINING, VALIDATION, TEST = "round", "validation", "test"


@dataclass(frozen=True)
class Question:
    """A question; `digest` is of the whole message, `trained_in` the round that made the model."""

    kind: str
    round: int
    trained_in: int
    digest: str

    @property
    def slot(self) -> str:
        return f"{TRAINING} {self.round}" if self.kind == TRAINING else self.kind


def refusal(home: SiteDirectory, run: str, plan: str, question: Question, rounds: int, runs: int) -> Refusal | None:
    """Return why a question is refused; `rounds` are those of the plan, `runs` the approved number of runs."""
    return judged(_kept(home, run), question, plan, rounds, room=len(runs_of(home, plan)) < runs)


def judged(kept: Mapping[str, Any], question: Question, plan: str, rounds: int, room: bool) -> Refusal | None:
    """Decide from the run's record `kept`; `room` is whether a run without a record may begin."""
    if not kept and not room:
        return Refusal.RUNS
    if kept and kept["plan"] != plan:
        return Refusal.RUN
    asked: Mapping[str, str] = kept["asked"] if kept else {}
    if question.slot in asked:
        return None if asked[question.slot] == question.digest else Refusal.ASKED
    return None if _comes_next(question, asked, rounds) else Refusal.ORDER


def _comes_next(question: Question, asked: Mapping[str, str], rounds: int) -> bool:
    """Return whether a question is in order: rounds only increase, may be missed, and end with the final scores."""
    latest = max((int(slot.split()[1]) for slot in asked if slot.startswith(TRAINING)), default=0)
    if question.kind == TRAINING:
        ended = bool({VALIDATION, TEST} & asked.keys())
        return latest < question.round <= rounds and 0 <= question.trained_in < question.round and not ended
    last = question.round == rounds if question.kind == VALIDATION else latest <= question.round <= rounds
    return last and 0 <= question.trained_in <= question.round and (question.kind == TEST or TEST not in asked)


def record(home: SiteDirectory, run: str, plan: str, question: Question) -> None:
    asked = {**_kept(home, run).get("asked", {}), question.slot: question.digest}
    write_text(home.run(run) / "questions.json", json.dumps({"plan": plan, "asked": asked}))


def runs_of(home: SiteDirectory, plan: str) -> list[str]:
    """Return the plan's runs that asked a question."""
    found = {file.parent.name: json.loads(file.read_text()) for file in home.state.glob("runs/*/questions.json")}
    return sorted(run for run, kept in found.items() if kept["plan"] == plan)


def _kept(home: SiteDirectory, run: str) -> dict[str, Any]:
    file = home.run(run) / "questions.json"
    return json.loads(file.read_text()) if file.exists() else {}


def answered_on(home: SiteDirectory, day: date) -> int:
    last = json.loads(home.answered.read_text()) if home.answered.exists() else {}
    return int(last["answered"]) if last.get("day") == day.isoformat() else 0


def count(home: SiteDirectory, day: date) -> None:
    write_text(home.answered, json.dumps({"day": day.isoformat(), "answered": answered_on(home, day) + 1}))
