"""Commands by which a hospital approves plans of the coordinator: `python -m sites approve --help`."""

from pathlib import Path
from typing import Annotated

import typer

from teledx_fed.commands import HERE, AsJson, Home, answer, program

app = program()


@app.command()
def approve(
    plan: Annotated[Path, typer.Argument(help="The file that the coordinator sent.")],
    reference: Annotated[str, typer.Option(prompt=True, help="Of the ethics vote or contract.")],
    expires: Annotated[str, typer.Option(prompt=True, help="The last day, for example 2027-01-31.")],
    runs: Annotated[int, typer.Option(help="How many more runs of the plan this hospital answers.")] = 1,
    model: Annotated[Path | None, typer.Option(help="The model file from which the plan starts, if any.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    home: Home = HERE,
) -> None:
    """Show what a plan asks of this hospital, in plain words, and approve it. Other requests are refused."""
    from teledx_fed.deployment.common import plans
    from teledx_fed.deployment.site import approvals
    from teledx_fed.deployment.site.plan_wording import page
    from teledx_fed.deployment.site.settings import SiteDirectory

    approvals.check_terms(reference, expires, runs)
    here, asked = SiteDirectory(home), plans.read(plan)
    typer.echo("\n".join(page(asked, here.settings, runs)) + "\n")
    if not yes:
        typer.confirm(f"Approve this plan for {here.settings.name}, by {reference}, until {expires}?", abort=True)
    given = approvals.approve(here, asked, reference, expires, runs, model)
    typer.echo(f"approved until {given.expires}; python -m sites withdraw {asked.digest[:12]} ends it")


@app.command("approvals")
def listed(home: Home = HERE, as_json: AsJson = False) -> None:
    """List the approved plans."""
    from teledx_fed.deployment.site import questions
    from teledx_fed.deployment.site.approvals import SHORT, approvals
    from teledx_fed.deployment.site.settings import SiteDirectory

    here = SiteDirectory(home)
    used = [(one, questions.runs_of(here, one.plan.digest)) for one in approvals(here)]
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
    home: Home = HERE,
) -> None:
    """End an approval: the next request by this plan is refused."""
    from teledx_fed.deployment.site import approvals
    from teledx_fed.deployment.site.settings import SiteDirectory

    typer.echo(f"plan {approvals.withdraw(SiteDirectory(home), plan).plan.digest[:12]} is withdrawn")
