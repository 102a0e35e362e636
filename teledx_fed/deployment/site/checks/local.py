"""Checks of the hospital's folder and of the machine."""

import os
from datetime import date, datetime
from math import inf
from pathlib import Path
from stat import S_IMODE

from teledx_fed.core.formatting import size
from teledx_fed.deployment.common.certificates import days_left, fingerprint
from teledx_fed.deployment.common.keys import public_key_bytes, site_key
from teledx_fed.deployment.site.approvals import SHORT, Approval, approvals
from teledx_fed.deployment.site.checks.check import Check, Checks, fail, ok, warn
from teledx_fed.deployment.site.settings import SiteDirectory
from teledx_fed.deployment.site.terms import plan_refusal, within_hours
from teledx_fed.federation.flower import public_key_to_bytes

SOON_DAYS = 30
TIGHT_BYTES, LEAST_BYTES = 6e9, 2e9
USUAL = "Training the default network in batches of 32 takes about 4.2 GB on a CPU"
CGROUP = Path("/sys/fs/cgroup")


def secrets(home: SiteDirectory) -> Checks:
    files = (home.folder, home.private_key, home.split_key, home.executor_key, home.audit_key)
    wrong = [found for file in files if (found := _exposed(file)) is not None]
    yield from wrong or [ok("secrets", f"{', '.join(file.name for file in files)}: for their owner alone")]


def _exposed(file: Path) -> Check | None:
    if not file.exists():
        return fail("secrets", f"{file} is missing", "Put it back from the copy that you keep.")
    if (mode := S_IMODE(file.stat().st_mode)) & 0o077:
        found = f"{file} is open to others on this machine (mode {mode:04o})"
        return fail("secrets", found, f"chmod {'700' if file.is_dir() else '600'} {file}")
    return None


def key(home: SiteDirectory) -> Checks:
    public = public_key_to_bytes(site_key(home.private_key).public_key())
    if public == public_key_bytes(home.public_key):
        yield ok("key", f"fingerprint {fingerprint(home.public_key)}")
    else:
        yield fail("key", f"{home.public_key} does not belong to {home.private_key}", "Put back the two made together.")


def authority(home: SiteDirectory) -> Checks:
    days, shown = days_left(home.authority), fingerprint(home.authority)
    found = f"fingerprint {shown}, {days} days left"
    if days < 0:
        yield fail("authority", f"{home.authority} has expired", "Ask the coordinator for the new one.")
    elif days < SOON_DAYS:
        yield warn("authority", found, "Ask the coordinator for the new one.")
    else:
        yield ok("authority", found)


def approval(home: SiteDirectory) -> Checks:
    given, today = list(approvals(home)), date.today()
    if not given:
        yield warn("approval", "no plan is approved: this machine refuses every request", "See approve.")
    for one in given:
        yield _approved(home, one, (one.expires - today).days)


def _approved(home: SiteDirectory, given: Approval, days: int) -> Check:
    about = f"plan {given.plan.digest[:SHORT]}, {given.reference}"
    start = None if given.plan.file is None else Path(given.plan.file)
    refused = plan_refusal(given.plan.asked(start), home.settings.limits)
    if days < 0:
        return warn(
            "approval",
            f"{about}, expired on {given.expires}: its requests are refused",
            "Withdraw it, or approve it again.",
        )
    if refused is not None:
        return warn("approval", f"{about} is refused: {refused}", "Change limits in site.yaml, or withdraw it.")
    if days < SOON_DAYS:
        return warn("approval", f"{about}, {days} days left", "Approve it again in time.")
    return ok("approval", f"{about}, {days} days left")


def limits(home: SiteDirectory) -> Checks:
    own = home.settings.limits
    window = own.window()
    if window is not None and window[0] == window[1]:
        yield fail("limits", f"limits.hours {own.hours} holds no time", "Correct it, or write null for no limit.")
    else:
        networks, optimizers, least = own.networks, own.optimizers, own.training_patients
        told = f"{', '.join(networks)} by {', '.join(optimizers)}, on {least} training patients and more"
        hours = f", hours {own.hours}" if own.hours else ""
        now = "" if within_hours(home.settings, datetime.now()) else " (not now)"
        yield ok("limits", f"{told}{hours}{now}")


def cores(home: SiteDirectory) -> Checks:
    asked, there = home.settings.limits.cores, len(os.sched_getaffinity(0))
    if asked > there:
        yield warn("cores", f"limits.cores {asked}, of {there} here", f"Write {there}: more would wait for each other.")
    else:
        yield ok("cores", f"{asked} of {there}")


def memory(home: SiteDirectory) -> Checks:
    """Check the free memory of the machine, or of its systemd unit or container if that has less."""
    free = min(_free_of_machine(), _free_of_unit())
    found = f"{size(free)} free"
    if free < LEAST_BYTES:
        yield fail("memory", found, f"{USUAL}: give it {size(TIGHT_BYTES)}.")
    elif free < TIGHT_BYTES:
        yield warn("memory", found, f"{USUAL}: better give it {size(TIGHT_BYTES)}.")
    else:
        yield ok("memory", found)


def _free_of_machine() -> float:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return 1024.0 * int(lines["MemAvailable"].split()[0])


def _free_of_unit() -> float:
    limit, used = CGROUP / "memory.max", CGROUP / "memory.current"
    if not limit.exists() or limit.read_text().strip() == "max":
        return inf
    return float(limit.read_text()) - float(used.read_text()) + _cached()


def _cached() -> float:
    """Return the unit's inactive file cache in bytes, which the kernel can free."""
    lines = dict(line.split() for line in (CGROUP / "memory.stat").read_text().splitlines())
    return float(lines["inactive_file"])
