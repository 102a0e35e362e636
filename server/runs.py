"""Commands for runs: compose, start, watch, resume, stop, list them, and ask hospitals whether they are ready."""

import json
import sys
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from teledx_fed.commands import HERE, AsJson, Folder, answer, program
from teledx_fed.deployment.server.settings import ServerDirectory

if TYPE_CHECKING:
    from teledx_fed.deployment.common.plans import Plan
    from teledx_fed.deployment.server.control import RunRequest

app = program()

Experiment = Annotated[list[str], typer.Argument(help="An experiment of conf/experiment, then settings as NAME=VALUE.")]


@app.command()
def run(
    experiment: Experiment,
    name: Annotated[str | None, typer.Option(help="Name of the run. Default: the time of day.")] = None,
    detach: Annotated[bool, typer.Option(help="Start the run, and do not watch its rounds.")] = False,
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Start a run: compose and check its settings, and watch its rounds."""
    from teledx_fed.deployment.server.run_requests import compose_request

    directory = ServerDirectory(folder)
    request, plan = compose_request(directory, experiment, name or f"{datetime.now():%Y-%m-%d_%H-%M-%S}")
    _start(directory, request, detach, as_json, plan)


@app.command()
def plan(
    experiment: Experiment,
    out: Annotated[Path, typer.Option(help="The file to write. Give it to each hospital to approve.")],
    folder: Folder = HERE,
    as_json: AsJson = False,
) -> None:
    """Write the plan that hospitals must approve. Give run and readiness the same experiment and settings."""
    from teledx_fed.deployment.common import plans
    from teledx_fed.deployment.server.run_requests import compose_plan

    plan = compose_plan(ServerDirectory(folder), experiment)
    plans.write(plan, out)
    line = f"plan {plan.digest[:12]} is in {out}: give it to each hospital"
    answer(as_json, line, plan=plan.digest, file=str(out))


@app.command()
def resume(run: str, detach: bool = False, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Continue a run from its last completed round."""
    from teledx_fed.deployment.server.run_requests import stored_request

    directory = ServerDirectory(folder)
    _start(directory, stored_request(directory, run), detach, as_json)


def _start(
    directory: ServerDirectory, request: "RunRequest", detach: bool, as_json: bool, plan: "Plan | None" = None
) -> None:
    from teledx_fed.deployment.server.run_requests import submit, watch
    from teledx_fed.reporting.progress import TerminalReporter

    submit(directory, request, plan)
    answer(as_json, f"run {request.run} is started, by plan {request.plan[:12]}", run=request.run, plan=request.plan)
    if detach:
        return
    if as_json:
        watch(directory, request, lambda report, rounds: typer.echo(json.dumps(asdict(report))))
        return
    with TerminalReporter() as reporter:
        reporter.phase("rounds")
        watch(directory, request, reporter.round)
    typer.echo(f"run folder: {directory.run(request.run)}")


@app.command()
def stop(run: str, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Stop a run. Its completed rounds are kept: resume continues from them."""
    from teledx_fed.deployment.server import control

    control.stop(ServerDirectory(folder), run)
    answer(as_json, f"run {run} is stopped", run=run)


@app.command("list")
def list_runs(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """List all runs, the newest first."""
    from teledx_fed.deployment.server import control

    runs = control.runs(ServerDirectory(folder))
    lines = [f"{run.run}  {run.status}  {run.details}".rstrip() for run in runs]
    answer(as_json, "\n".join(lines) or "no run yet", runs=[asdict(run) for run in runs])


@app.command()
def readiness(experiment: Experiment, folder: Folder = HERE, as_json: AsJson = False) -> None:
    """Ask each hospital for rounded counts of its data, and show who can start. Exit code 1 if too few can."""
    from teledx_fed.deployment.server.control import READINESS
    from teledx_fed.deployment.server.run_requests import answers, compose_request, submit, watch
    from teledx_fed.reporting.readiness import table

    directory = ServerDirectory(folder)
    run = f"readiness-{datetime.now():%Y-%m-%d_%H-%M-%S}"
    request, plan = compose_request(directory, experiment, run, READINESS)
    submit(directory, request, plan)
    watch(directory, request)
    sites = answers(directory, request)
    answer(as_json, table(sites), sites=[asdict(site) for site in sites])
    sys.exit(int(not sites[-1].go))
