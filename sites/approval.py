"""Commands by which a hospital approves plans of the coordinator: `python -m sites approve --help`."""

from pathlib import Path
from typing import Annotated

import typer

from teledx_fed.commands import HERE, AsJson, Folder, answer, program
from teledx_fed.deployment.site.settings import SiteDirectory

app = program()


@app.command()
def approve(
    plan: Annotated[Path, typer.Argument(help="The file that the coordinator sent.")],
    reference: Annotated[str, typer.Option(prompt=True, help="The ethics vote or contract.")],
    expires: Annotated[str, typer.Option(prompt=True, help="The last day, for example 2027-01-31.")],
    runs: Annotated[int, typer.Option(help="How many more runs of the plan this hospital answers.")] = 1,
    model: Annotated[Path | None, typer.Option(help="The model file from which the plan starts, if any.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    folder: Folder = HERE,
) -> None:
    """Show a plan in plain words, and approve it. The hospital refuses requests without an approved plan."""
    from teledx_fed.deployment.common import plans
    from teledx_fed.deployment.site import approvals
    from teledx_fed.deployment.site.plan_wording import page

    approvals.check_terms(reference, expires, runs)
    directory, proposal = SiteDirectory(folder), plans.read(plan)
    typer.echo("\n".join(page(proposal, directory.settings, runs)) + "\n")
    if not yes:
        typer.confirm(f"Approve this plan for {directory.settings.name}, by {reference}, until {expires}?", abort=True)
    approval = approvals.approve(directory, proposal, reference, expires, runs, model)
    typer.echo(f"approved until {approval.expires}; python -m sites withdraw {proposal.digest[:12]} ends it")


@app.command("approvals")
def listed(folder: Folder = HERE, as_json: AsJson = False) -> None:
    """List the approved plans."""
    from teledx_fed.deployment.site import questions
    from teledx_fed.deployment.site.approvals import SHORT, approvals

    directory = SiteDirectory(folder)
    used = [(one, questions.runs_of(directory, one.plan.digest)) for one in approvals(directory)]
    lines = [
        f"{one.plan.digest[:SHORT]}  until {one.expires}  {one.reference}  {one.plan.purpose}  "
        f"runs {len(runs)} of {one.runs}"
        for one, runs in used
    ]
    facts = [
        {"plan": one.plan.digest, "expires": one.expires.isoformat(), "reference": one.reference, "runs": runs}
        for one, runs in used
    ]
    answer(as_json, "\n".join(lines) or "no plan is approved", approvals=facts)


@app.command()
def withdraw(
    plan: Annotated[str, typer.Argument(help="The plan's file, or the start of its digest.")],
    folder: Folder = HERE,
) -> None:
    """Withdraw an approval: the hospital refuses the next request of this plan."""
    from teledx_fed.deployment.site import approvals

    typer.echo(f"plan {approvals.withdraw(SiteDirectory(folder), plan).plan.digest[:12]} is withdrawn")
