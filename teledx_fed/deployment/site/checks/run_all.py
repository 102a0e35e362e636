"""Run all checks of a hospital, the fast ones first."""

from teledx_fed.config.settings import Settings
from teledx_fed.core.errors import TeledxError
from teledx_fed.core.reports import Reporter
from teledx_fed.deployment.site.approvals import approvals
from teledx_fed.deployment.site.checks import local, server
from teledx_fed.deployment.site.checks.check import Checks, fail, guarded, ok, warn
from teledx_fed.deployment.site.settings import SiteDirectory

LOCAL_CHECKS = {
    "secrets": local.secrets,
    "key": local.key,
    "authority": local.authority,
    "approval": local.approval,
    "limits": local.limits,
    "cores": local.cores,
    "memory": local.memory,
}


def checks(directory: SiteDirectory, offline: bool, reporter: Reporter, run_settings: Settings | None = None) -> Checks:
    """Yield all checks; the trial trains with `run_settings`, else with an approved plan, else with the defaults."""
    try:
        settings = directory.settings
    except TeledxError as error:
        yield fail("site.yaml", str(error), "Correct it first: no other check can run.")
        return
    yield ok("site.yaml", f"{settings.name}, for the server {settings.server}")
    for name, part in LOCAL_CHECKS.items():
        yield from guarded(name, part(directory), directory)
    if offline:
        yield warn("network", "not checked (--offline)", "Check without it before joining.")
    else:
        yield from guarded("network", server.checks(directory), directory)
    yield from _computing(directory, reporter, run_settings or _approved(directory) or Settings())


def _approved(directory: SiteDirectory) -> Settings | None:
    """Return the settings of the plan that expires last, of those without a file."""
    plans = [(one.expires, one.plan) for one in approvals(directory) if one.plan.file is None]
    return max(plans, key=lambda one: one[0])[1].run_settings() if plans else None


def _computing(directory: SiteDirectory, reporter: Reporter, run_settings: Settings) -> Checks:
    """Check device, data and training. PyTorch takes seconds to load, so these checks come last."""
    from teledx_fed.deployment.site.checks import computing, data
    from teledx_fed.deployment.site.hospital import own_settings

    settings = own_settings(run_settings, directory)
    yield from guarded("device", computing.device(directory), directory)
    site = yield from guarded("data", data.checks(directory, settings, reporter), directory)
    if site is not None:
        yield from guarded("training", computing.training(directory, site, settings), directory)
