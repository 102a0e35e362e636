"""Requests to start a run: composed, checked, stored in the run's folder, and followed until the run ends."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from teledx_fed.config.data import PartitionSettings
from teledx_fed.config.loading import build, compose, save
from teledx_fed.config.settings import Settings
from teledx_fed.core.checks import must
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.files import write_text
from teledx_fed.core.reports import Readiness, RoundReport
from teledx_fed.deployment.common import plans
from teledx_fed.deployment.common.plans import Plan
from teledx_fed.deployment.common.settings import checked_name
from teledx_fed.deployment.server import control
from teledx_fed.deployment.server.control import READINESS, RELEASE, TRAINING, FlowerRun, Order
from teledx_fed.deployment.server.settings import ServerDirectory
from teledx_fed.federation.strategies.registry import strategy_of

ENDED = ("completed", "failed", "stopped")
POLL_SECONDS = 0.5


def order_of(home: ServerDirectory, asked: Sequence[str], run: str, kind: str = TRAINING) -> tuple[Order, Plan]:
    """Compose a run from `asked`: an experiment's name, then NAME=VALUE. A `ConfigurationError` names a wrong one."""
    settings = _composed(asked)
    folder = folder_of(home, Order(checked_name("name", run), "", "", kind))
    if folder.exists():
        raise ConfigurationError(
            f"--name must be new, got {run!r}, which was run. Choose another, or say resume {run}."
        )
    plan = _plan(home, settings)
    return Order(run, plan.digest, json.dumps(asdict(settings)), kind), plan


def plan_of(home: ServerDirectory, asked: Sequence[str]) -> Plan:
    """Return the plan that hospitals approve before such a run; the same `asked` gives the same plan."""
    return _plan(home, _composed(asked))


def _composed(asked: Sequence[str]) -> Settings:
    experiment, *overrides = asked
    if "=" in experiment:
        raise ConfigurationError(f"the first word must name an experiment, got {experiment!r}. See conf/experiment.")
    split = [choice for choice in overrides if choice.startswith("partition")]
    must(not split, "partition", "be left to each hospital over a network", split, "It stands in their site.yaml.")
    settings = replace(compose([f"experiment={experiment}", *overrides]), partition=PartitionSettings())
    strategy_of(settings)  # refuse settings that do not fit the strategy before hospitals see the plan
    return settings


def _plan(home: ServerDirectory, settings: Settings) -> Plan:
    """Build the plan. PyTorch takes seconds to load, so no other command imports it."""
    from teledx_fed.model.network import build as build_network
    from teledx_fed.model.network import pack

    network = build_network(settings.model, settings.seed)
    return Plan.of(settings, RELEASE, home.settings.purpose, pack(network, network.layout))


def folder_of(home: ServerDirectory, order: Order) -> Path:
    return home.run(order.run) if order.kind == TRAINING else home.folder / READINESS / order.run


def place(home: ServerDirectory, order: Order, plan: Plan | None = None) -> None:
    """Stop what is left of the same run, write its request, and start it."""
    control.stop(home, order.run)
    folder = folder_of(home, order)
    write_text(folder / "order.json", json.dumps(asdict(order), indent=1) + "\n")
    if plan is not None:
        plans.write(plan, folder / "plan.json")
    save(build(json.loads(order.settings)), folder / "config.yaml")
    control.start(home, order)


def kept_order(home: ServerDirectory, run: str) -> Order:
    """Return a run's stored request, with the present release."""
    file = home.run(run) / "order.json"
    if not file.exists():
        raise ConfigurationError(f"run must be one that was started here, got {run!r}. See list.")
    kept = json.loads(file.read_text())
    return Order(kept["run"], kept["plan"], kept["settings"])


def watch(
    home: ServerDirectory, order: Order, told: Callable[[RoundReport, int], None] = lambda report, rounds: None
) -> None:
    """Call `told` with each round until the run ends. A `ConfigurationError` if the run does not complete."""
    rounds = int(json.loads(order.settings)["federation"]["rounds"])
    lines = _lines(folder_of(home, order) / "rounds.jsonl")
    while True:
        newest = _newest(home, order.run)
        for line in next(lines):
            told(RoundReport(**json.loads(line)), rounds)
        if newest.status in ENDED:
            break
        time.sleep(POLL_SECONDS)
    if newest.status != "completed":
        raise ConfigurationError(
            f"run {order.run} {newest.status}: {newest.details or 'the server says no more'}. Go on with resume."
        )


def answers(home: ServerDirectory, order: Order) -> list[Readiness]:
    """Return the result of a `READINESS` request: each site's, and last the whole federation's."""
    found = json.loads((folder_of(home, order) / "readiness.json").read_text())
    return [Readiness(**{**one, "reasons": tuple(one["reasons"])}) for one in found]


def _newest(home: ServerDirectory, run: str) -> FlowerRun:
    flower_runs = [flower_run for flower_run in control.runs(home) if flower_run.run == run]
    must(bool(flower_runs), "run", "be one that the server has", run, "See list.")
    return flower_runs[0]


def _lines(file: Path) -> Iterator[list[str]]:
    """Yield the complete lines added since the last call."""
    position = 0
    while True:
        text = file.read_bytes()[position:] if file.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        position += len(whole)
        yield whole.decode().splitlines()
