"""The plans that a hospital approved: one private file for each, named by the plan's digest."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

from teledx_fed.core.checks import must, within
from teledx_fed.core.errors import ConfigurationError
from teledx_fed.deployment.common import private_files
from teledx_fed.deployment.common.plans import DIGEST, Plan, read, sha256_of
from teledx_fed.deployment.site import questions
from teledx_fed.deployment.site.settings import SiteDirectory
from teledx_fed.deployment.site.terms import plan_refusal

SHORT = 12
"""Characters of a plan's digest that people see."""


@dataclass(frozen=True)
class Approval:
    """`reference` names the ethics vote or contract, `expires` is the last day, `runs` the total of runs to answer."""

    plan: Plan
    reference: str
    expires: date
    runs: int

    def in_force(self, today: date) -> bool:
        return today <= self.expires


def approve(
    directory: SiteDirectory, plan: Plan, reference: str, expires: str, runs: int = 1, model: Path | None = None
) -> Approval:
    """Approve a plan for `runs` more runs. A `ConfigurationError` if limits in site.yaml forbid it.

    With 0 more, only the expiry changes: a run that has begun can continue until the new day.

    `model` is the file that a run starts from, if the plan names one that the hospital does not have yet.
    """
    check_terms(reference, expires, runs)
    refused = plan_refusal(plan.run_settings(_start_of(directory, plan, model)), directory.settings.limits)
    must(
        refused is None,
        "PLAN",
        "lie within limits of site.yaml",
        refused and refused.value,
        "Ask the coordinator for another plan: the limits protect your patients.",
    )
    approval = Approval(plan, reference, _day(expires), len(questions.runs_of(directory, plan.digest)) + runs)
    values = {**asdict(approval), "plan": json.loads(plan.text), "expires": expires}
    private_files.write(directory.approval(plan.digest), json.dumps(values, indent=1).encode(), replace=True)
    facts = {"plan": plan.digest, "reference": reference, "expires": expires, "runs": approval.runs}
    directory.audit_log.append("approved", **facts)
    return approval


def check_terms(reference: str, expires: str, runs: int) -> None:
    """Check the terms of an approval, whatever the plan. A `ConfigurationError` names the invalid one."""
    must(reference.strip() != "", "--reference", "name the ethics vote or contract", reference, "Give --reference.")
    must(_day(expires) >= date.today(), "--expires", "be a future date", expires, "Write it as 2027-01-31.")
    within("--runs", runs, 0, 1000)


def withdraw(directory: SiteDirectory, plan: str) -> Approval:
    """Withdraw an approval; `plan` is a plan's file, or the start of its digest."""
    digest = read(Path(plan)).digest if Path(plan).is_file() else plan
    matches = [approval for approval in approvals(directory) if digest and approval.plan.digest.startswith(digest)]
    must(len(matches) == 1, "PLAN", "be an approved plan", plan, "See python -m sites approvals.")
    directory.approval(matches[0].plan.digest).unlink()
    directory.audit_log.append("withdrawn", plan=matches[0].plan.digest)
    return matches[0]


def find(directory: SiteDirectory, digest: str) -> Approval | None:
    """Return the approval of a plan by its whole digest."""
    file = directory.approval(digest) if DIGEST.fullmatch(digest) else None
    return _read(file) if file is not None and file.exists() else None


def approvals(directory: SiteDirectory) -> Iterator[Approval]:
    yield from (_read(file) for file in sorted(directory.approvals.glob("*.json")))


def local_start(directory: SiteDirectory, plan: Plan) -> Path | None:
    """Return the hospital's copy of the model file that the plan starts from, or None; it is hashed each time."""
    copies = (directory.model(plan.file or ""), directory.champion / "model.safetensors")
    return next((file for file in copies if file.is_file() and sha256_of(file) == plan.file), None)


def _start_of(directory: SiteDirectory, plan: Plan, model: Path | None) -> Path | None:
    if plan.file is None:
        must(model is None, "--model", "be left out if the plan starts from no file", str(model), "Leave it out.")
        return None
    if model is not None:
        digest = sha256_of(model)
        must(digest == plan.file, "--model", f"have the SHA-256 {plan.file}", digest, "Ask for the file again.")
        private_files.write(directory.model(digest), model.read_bytes(), replace=True)
    start = local_start(directory, plan)
    must(
        start is not None, "PLAN", "start from a model that this hospital has", plan.file, "Name its file with --model."
    )
    return start


def _read(file: Path) -> Approval:
    values = json.loads(private_files.read(file))
    plan = Plan.parse(json.dumps(values["plan"]))
    must(plan.digest == file.stem, str(file), "hold the plan in its name", plan.digest, "Approve it again.")
    return Approval(plan, str(values["reference"]), _day(values["expires"]), int(values["runs"]))


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(f"--expires must be a day, got {text!r}. Write it as 2027-01-31.") from error
