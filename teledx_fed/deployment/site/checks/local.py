"""Checks of the hospital's folder and of the machine."""

import os
from datetime import date, datetime
from math import inf
from pathlib import Path
from stat import S_IMODE

from teledx_fed.core.formatting import size
from teledx_fed.deployment.common.certificates import days_left, fingerprint
from teledx_fed.deployment.common.events import CERTIFICATE_DAYS
from teledx_fed.deployment.common.keys import public_key_bytes, site_key
from teledx_fed.deployment.site.approvals import SHORT, Approval, approvals
from teledx_fed.deployment.site.checks.check import Check, Checks, fail, ok, warn, warn_if
from teledx_fed.deployment.site.settings import SiteDirectory
from teledx_fed.deployment.site.terms import plan_refusal, within_hours
from teledx_fed.federation.flower import public_key_to_bytes

TIGHT_BYTES, LEAST_BYTES = 6e9, 2e9
USUAL = "Training the default network in batches of 32 takes about 4.2 GB on a CPU"
CGROUP = Path("/sys/fs/cgroup")


def secrets(directory: SiteDirectory) -> Checks:
    files = (
        directory.folder,
        directory.private_key,
        directory.split_key,
        directory.executor_key,
        directory.audit_log.key,
    )
    wrong = [problem for file in files if (problem := _exposed(file)) is not None]
    yield from wrong or [ok("secrets", f"{', '.join(file.name for file in files)}: readable only by their owner")]


def _exposed(file: Path) -> Check | None:
    if not file.exists():
        return fail("secrets", f"{file} is missing", "Put it back from the copy that you keep.")
    if (mode := S_IMODE(file.stat().st_mode)) & 0o077:
        finding = f"{file} is open to others on this machine (mode {mode:04o})"
        return fail("secrets", finding, f"chmod {'700' if file.is_dir() else '600'} {file}")
    return None


def key(directory: SiteDirectory) -> Checks:
    public = public_key_to_bytes(site_key(directory.private_key).public_key())
    if public == public_key_bytes(directory.public_key):
        yield ok("key", f"fingerprint {fingerprint(directory.public_key)}")
    else:
        finding = f"{directory.public_key} does not belong to {directory.private_key}"
        yield fail("key", finding, "Put back the two that were made together.")


def authority(directory: SiteDirectory) -> Checks:
    days, shown = days_left(directory.authority), fingerprint(directory.authority)
    finding = f"fingerprint {shown}, {days} days left"
    if days < 0:
        yield fail("authority", f"{directory.authority} has expired", "Ask the coordinator for the new one.")
    else:
        yield warn_if(days < CERTIFICATE_DAYS, "authority", finding, "Ask the coordinator for the new one.")


def approval(directory: SiteDirectory) -> Checks:
    approved, today = list(approvals(directory)), date.today()
    if not approved:
        yield warn("approval", "no plan is approved: all requests are refused", "See python -m sites approve.")
    for one in approved:
        yield _approved(directory, one, (one.expires - today).days)


def _approved(directory: SiteDirectory, approved: Approval, days: int) -> Check:
    about = f"plan {approved.plan.digest[:SHORT]}, {approved.reference}"
    start = None if approved.plan.file is None else Path(approved.plan.file)
    refused = plan_refusal(approved.plan.run_settings(start), directory.settings.limits)
    if days < 0:
        finding = f"{about}, expired on {approved.expires}: its requests are refused"
        return warn("approval", finding, "Withdraw it, or approve it again.")
    if refused is not None:
        return warn("approval", f"{about} is refused: {refused}", "Change limits in site.yaml, or withdraw it.")
    return warn_if(days < CERTIFICATE_DAYS, "approval", f"{about}, {days} days left", "Approve it again in time.")


def limits(directory: SiteDirectory) -> Checks:
    allowed = directory.settings.limits
    window = allowed.window()
    if window is not None and window[0] == window[1]:
        yield fail("limits", f"limits.hours {allowed.hours} contains no time", "Correct it, or write null.")
    else:
        networks, optimizers, least = allowed.networks, allowed.optimizers, allowed.training_patients
        training = f"{', '.join(networks)} by {', '.join(optimizers)}, on at least {least} training patients"
        hours = f", hours {allowed.hours}" if allowed.hours else ""
        now = "" if within_hours(directory.settings, datetime.now()) else " (not now)"
        yield ok("limits", f"{training}{hours}{now}")


def cores(directory: SiteDirectory) -> Checks:
    limit, available = directory.settings.limits.cores, len(os.sched_getaffinity(0))
    if limit > available:
        finding = f"limits.cores is {limit}, this machine has {available}"
        yield warn("cores", finding, f"Write {available}: more threads would wait for each other.")
    else:
        yield ok("cores", f"{limit} of {available}")


def memory(directory: SiteDirectory) -> Checks:
    """Check the free memory of the machine, or of its systemd unit or container if that has less."""
    free = min(_free_of_machine(), _free_of_unit())
    finding = f"{size(free)} free"
    if free < LEAST_BYTES:
        yield fail("memory", finding, f"{USUAL}: it needs {size(TIGHT_BYTES)}.")
    else:
        yield warn_if(free < TIGHT_BYTES, "memory", finding, f"{USUAL}: it should have {size(TIGHT_BYTES)}.")


def _free_of_machine() -> float:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return 1024.0 * int(lines["MemAvailable"].split()[0])


def _free_of_unit() -> float:
    limit, usage = CGROUP / "memory.max", CGROUP / "memory.current"
    if not limit.exists() or limit.read_text().strip() == "max":
        return inf
    statistics = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    cached = float(statistics["inactive_file"])  # the kernel can free it
    return float(limit.read_text()) - float(usage.read_text()) + cached
