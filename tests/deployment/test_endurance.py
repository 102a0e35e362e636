"""Many rounds on one machine: memory, open files and processes do not grow.

Four hospitals in the slow suite; `make test-endurance` has twelve.
"""

import os
import time
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

import pytest

from benchmarks.jobs.deployed import Federation, running
from benchmarks.jobs.processes import descendants

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SITES = [f"hospital-{number}" for number in range(int(os.environ.get("HOSPITALS", "4")))]
ROUNDS, SETTLED = 20, 8
TINY = ("model.name=test_efficientnet", "model.initial=none")


@dataclass(frozen=True)
class Usage:
    """The resources of a process and its descendants; memory in MiB."""

    memory: float
    files: int
    processes: int

    @classmethod
    def of(cls, process: int) -> "Usage":
        family = [process, *descendants(process)]
        memory = sum(_resident(member) for member in family)
        return cls(memory, sum(len(list(Path(f"/proc/{member}/fd").iterdir())) for member in family), len(family))

    def or_less(self, other: "Usage") -> "Usage":
        least = map(min, astuple(self), astuple(other))
        return Usage(*least)


def _resident(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 2**10


@pytest.fixture(scope="module")
def usage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[Usage, Usage]]]:
    """Resources of the server and each hospital, after the first rounds and at the end."""
    with running(tmp_path_factory.mktemp("endurance")) as federation:
        for name in SITES:
            federation.enrol(name, patients=15)
            federation.join(name)
        federation.order("long", *TINY, f"federation.rounds={ROUNDS}", f"federation.quorum={len(SITES)}")
        federation.wait_for_rounds("long", SETTLED, seconds=600)
        settled = _of_all(federation)
        federation.wait_for_rounds("long", ROUNDS, seconds=600)
        ended = _of_all(federation)
        federation.wait_until_done("long")
        assert [len(line["accepted"]) for line in federation.rounds("long")] == [len(SITES)] * (ROUNDS + 1)
        yield {name: (settled[name], ended[name]) for name in settled}


def _of_all(federation: Federation) -> dict[str, Usage]:
    """Return the minima over some seconds, because connections open and close."""
    usages = {name: Usage.of(process.pid) for name, process in federation.processes.items()}
    for _ in range(5):
        time.sleep(1)
        usages = {name: usage.or_less(Usage.of(federation.processes[name].pid)) for name, usage in usages.items()}
    return usages


def test_no_memory_leaks(usage: dict[str, tuple[Usage, Usage]]) -> None:
    grown = {name: round(after.memory / before.memory, 2) for name, (before, after) in usage.items()}
    assert max(grown.values()) < 1.15, grown


def test_no_files_stay_open(usage: dict[str, tuple[Usage, Usage]]) -> None:
    grown = {name: after.files - before.files for name, (before, after) in usage.items()}
    assert max(grown.values()) < 20, grown


def test_no_processes_stay(usage: dict[str, tuple[Usage, Usage]]) -> None:
    assert {name: after.processes - before.processes for name, (before, after) in usage.items()} == dict.fromkeys(
        usage, 0
    )
