"""Count the answers from a hospital's test set, by its photographs: names of runs and plans do not matter."""

import json
from datetime import date
from typing import Any

from teledx_fed.core.examples import Site
from teledx_fed.core.files import write_text
from teledx_fed.deployment.site.settings import SiteDirectory


def spent(directory: SiteDirectory, site: Site, question: str) -> int:
    """Return how many other answers came from test sets that share a photograph with the present one.

    So a test set that lost or gained a few patients counts as the same. Its answer to the same question counts again,
    because the difference between the two answers would reveal facts about the patients who left.
    """
    now = _photographs(site)
    shared = {_answer(one) for one in _answers(directory) if not now.isdisjoint(one["photographs"])}
    return len(shared - {(question, now)})


def record(directory: SiteDirectory, site: Site, question: str, plan: str, day: date) -> None:
    if (question, _photographs(site)) in map(_answer, _answers(directory)):
        return
    line = {"question": question, "plan": plan, "day": day.isoformat(), "photographs": sorted(_photographs(site))}
    earlier = directory.test_answers.read_text() if directory.test_answers.exists() else ""
    write_text(directory.test_answers, f"{earlier}{json.dumps(line)}\n")


def _photographs(site: Site) -> frozenset[str]:
    return frozenset(example.image.digest() for example in site.shard.test)


def _answer(line: dict[str, Any]) -> tuple[str, frozenset[str]]:
    return line["question"], frozenset(line["photographs"])


def _answers(directory: SiteDirectory) -> list[dict[str, Any]]:
    if not directory.test_answers.exists():
        return []
    return [json.loads(line) for line in directory.test_answers.read_text().splitlines()]
