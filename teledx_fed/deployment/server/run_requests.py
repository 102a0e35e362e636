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
from teledx_fed.deployment.common.settings import RELEASE, checked_name
from teledx_fed.deployment.server import control
from teledx_fed.deployment.server.control import READINESS, TRAINING, RunRequest
from teledx_fed.deployment.server.overview import AT_WORK, REQUEST, ROUNDS, FlowerRun
from teledx_fed.deployment.server.settings import ServerDirectory
from teledx_fed.federation.strategies.registry import strategy_of

POLL_SECONDS = 0.5


def compose_request(
    directory: ServerDirectory, choices: Sequence[str], run: str, kind: str = TRAINING
) -> tuple[RunRequest, Plan]:
    """Compose a run from `choices`: an experiment's name, then NAME=VALUE. A `ConfigurationError` names a wrong one."""
    settings = _composed(choices)
    folder = folder_of(directory, RunRequest(checked_name("name", run), "", "", kind))
    if folder.exists():
        raise ConfigurationError(
            f"--name must be new, got {run!r}, which exists. Choose another, or write resume {run}."
        )
    plan = _plan(directory, settings)
    return RunRequest(run, plan.digest, json.dumps(asdict(settings)), kind), plan


def compose_plan(directory: ServerDirectory, choices: Sequence[str]) -> Plan:
    """Return the plan that hospitals approve before such a run; the same `choices` gives the same plan."""
    return _plan(directory, _composed(choices))


def _composed(choices: Sequence[str]) -> Settings:
    experiment, *overrides = choices
    if "=" in experiment:
        raise ConfigurationError(f"the first word must name an experiment, got {experiment!r}. See conf/experiment.")
    split = [choice for choice in overrides if choice.startswith("partition")]
    must(
        not split, "partition", "be left to each hospital over a network", split, "Each hospital sets it in site.yaml."
    )
    settings = replace(compose([f"experiment={experiment}", *overrides]), partition=PartitionSettings())
    strategy_of(settings)  # refuse settings that do not fit the strategy before hospitals see the plan
    return settings


def _plan(directory: ServerDirectory, settings: Settings) -> Plan:
    """Build the plan. PyTorch takes seconds to load, so no other command imports it."""
    from teledx_fed.model.network import build as build_network
    from teledx_fed.model.network import pack

    network = build_network(settings.model, settings.seed)
    return Plan.of(settings, RELEASE, directory.settings.purpose, pack(network, network.layout))


def folder_of(directory: ServerDirectory, request: RunRequest) -> Path:
    return directory.run(request.run) if request.kind == TRAINING else directory.folder / READINESS / request.run


def submit(directory: ServerDirectory, request: RunRequest, plan: Plan | None = None) -> None:
    """Stop what is left of the same run, write its request, and start it."""
    control.stop(directory, request.run)
    folder = folder_of(directory, request)
    write_text(folder / REQUEST, json.dumps(asdict(request), indent=1) + "\n")
    if plan is not None:
        plans.write(plan, folder / "plan.json")
    save(build(json.loads(request.settings)), folder / "config.yaml")
    control.start(directory, request)


def stored_request(directory: ServerDirectory, run: str) -> RunRequest:
    """Return a run's stored request, with the present release."""
    file = directory.run(run) / REQUEST
    if not file.exists():
        raise ConfigurationError(f"run must be one that this server started, got {run!r}. See list.")
    values = json.loads(file.read_text())
    return RunRequest(values["run"], values["plan"], values["settings"])


def watch(
    directory: ServerDirectory,
    request: RunRequest,
    report: Callable[[RoundReport, int], None] = lambda report, rounds: None,
) -> None:
    """Call `report` with each round until the run ends. A `ConfigurationError` if the run does not complete."""
    rounds = int(json.loads(request.settings)["federation"]["rounds"])
    lines = _lines(folder_of(directory, request) / ROUNDS)
    while True:
        newest = _newest(directory, request.run)
        for line in next(lines):
            report(RoundReport(**json.loads(line)), rounds)
        if newest.status not in AT_WORK:
            break
        time.sleep(POLL_SECONDS)
    if newest.status != "completed":
        raise ConfigurationError(
            f"run {request.run} {newest.status}: {newest.details or 'without details'}. Continue it with resume."
        )


def answers(directory: ServerDirectory, request: RunRequest) -> list[Readiness]:
    """Return the result of a `READINESS` request: each site's, and last the whole federation's."""
    sites = json.loads((folder_of(directory, request) / "readiness.json").read_text())
    return [Readiness(**{**one, "reasons": tuple(one["reasons"])}) for one in sites]


def _newest(directory: ServerDirectory, run: str) -> FlowerRun:
    flower_runs = [one for one in control.runs(directory) if one.run == run]
    must(bool(flower_runs), "run", "be one that the server has", run, "See list.")
    return flower_runs[0]


def _lines(file: Path) -> Iterator[list[str]]:
    """Yield the complete lines added since the last call."""
    position = 0
    while True:
        text = file.read_bytes()[position:] if file.exists() else b""
        complete = text[: text.rfind(b"\n") + 1]
        position += len(complete)
        yield complete.decode().splitlines()
