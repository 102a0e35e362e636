"""Runs as a coordinator orders them: composed and checked here, kept in the run's folder, watched as they go."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from teledx_fed.deployment import control
from teledx_fed.deployment.control import Order
from teledx_fed.deployment.server_settings import ServerHome
from teledx_fed.deployment.site_settings import checked_name
from teledx_fed.files import write_text
from teledx_fed.records import RoundReport
from teledx_fed.settings import build, compose, save

ENDED = ("completed", "failed", "stopped")
POLL_SECONDS = 0.5


def order_of(home: ServerHome, asked: Sequence[str], run: str) -> Order:
    """`asked` is an experiment's name and settings as NAME=VALUE. A `ValueError` says which of them is wrong."""
    if home.run(run).exists():
        raise ValueError(f"--name must be new, got {run!r}, which was run. Choose another, or say resume {run}.")
    experiment, *overrides = asked
    if "=" in experiment:
        raise ValueError(f"the first word must name an experiment, got {experiment!r}. See conf/experiment.")
    settings = compose([f"experiment={experiment}", *overrides])
    return Order(checked_name("name", run), experiment, json.dumps(asdict(settings)))


def place(home: ServerHome, order: Order) -> None:
    """Write it down, then have it started; what is left of the same run from before is stopped first."""
    control.stop(home, order.run)
    write_text(_file(home, order.run), json.dumps(asdict(order), indent=1) + "\n")
    save(build(json.loads(order.settings)), home.run(order.run) / "config.yaml")
    control.start(home, order)


def kept_order(home: ServerHome, run: str) -> Order:
    """As it was placed, whatever release resumes it."""
    file = _file(home, run)
    if not file.exists():
        raise ValueError(f"run must be one that was started here, got {run!r}. See list.")
    kept = json.loads(file.read_text())
    return Order(kept["run"], kept["experiment"], kept["settings"])


def _file(home: ServerHome, run: str) -> Path:
    return home.run(run) / "order.json"


def watch(home: ServerHome, run: str, told: Callable[[RoundReport, int], None]) -> None:
    """Each round as it comes, until the run ends. A `ValueError` says how, where it did not complete."""
    rounds = int(json.loads(kept_order(home, run).settings)["federation"]["rounds"])
    lines = _lines(home.run(run) / "rounds.jsonl")
    while True:
        found = control.runs(home)
        newest = next(flower for flower in found if flower.run == run)
        for line in next(lines):
            told(RoundReport(**json.loads(line)), rounds)
        if newest.status in ENDED:
            break
        time.sleep(POLL_SECONDS)
    if newest.status != "completed":
        raise ValueError(f"run {run} {newest.status}: {newest.details or 'no reason is known'}. Resume it with resume.")


def _lines(file: Path) -> Iterator[list[str]]:
    """Whole lines that were added since the last time."""
    position = 0
    while True:
        text = file.read_bytes()[position:] if file.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        position += len(whole)
        yield whole.decode().splitlines()
