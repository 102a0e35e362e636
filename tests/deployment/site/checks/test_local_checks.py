"""The checks of a hospital's own folder and machine."""

import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from loopback import HOST, coordinator, named, states

from teledx_fed.config.settings import Settings
from teledx_fed.core.weights import Layout, Weights
from teledx_fed.deployment.common import certificates as pki
from teledx_fed.deployment.common import keys
from teledx_fed.deployment.common.plans import Plan
from teledx_fed.deployment.site.approvals import approve
from teledx_fed.deployment.site.checks import local, run_all, server
from teledx_fed.deployment.site.checks.check import Checks, CheckState, ok
from teledx_fed.deployment.site.settings import SiteDirectory

DAY = timedelta(days=1)

Write = Callable[..., SiteDirectory]


def test_a_key_that_others_can_read(write: Write) -> None:
    directory = write()
    assert {check.state for check in local.secrets(directory)} == {CheckState.OK}
    directory.private_key.chmod(0o644)
    directory.split_key.unlink()
    results = [check for check in local.secrets(directory) if check.state is CheckState.FAIL]
    assert [check.remedy for check in results] == [
        f"chmod 600 {directory.private_key}",
        "Put it back from the copy that you keep.",
    ]


def test_a_key_that_belongs_to_another(write: Write, tmp_path: Path) -> None:
    directory = write()
    assert named(local.key(directory))["key"] == ok("key", f"fingerprint {pki.fingerprint(directory.public_key)}")
    keys.create_site_keys(tmp_path / "other.key", tmp_path / "other.pub", "south")
    directory.public_key.write_bytes((tmp_path / "other.pub").read_bytes())
    assert named(local.key(directory))["key"].state is CheckState.FAIL
    directory.private_key.write_text("no key")
    results = named(run_all.guarded("key", local.key(directory), directory))["key"]
    assert "must be the key that init made" in results.found


def test_an_invalid_authority(write: Write) -> None:
    directory = write()
    assert named(local.authority(directory))["authority"].state is CheckState.OK
    directory.authority.write_text("")
    for checks in (local.authority(directory), reach(directory)):
        results = named(run_all.guarded("authority", checks, directory))
        assert any("must hold certificates" in check.found for check in results.values())


def reach(directory: SiteDirectory) -> Checks:
    with coordinator(directory.folder.parent / "certificates") as port:
        (directory.folder / "site.yaml").write_text(json.dumps({"name": "north", "server": f"{HOST}:{port}"}))
        yield from server.checks(SiteDirectory(directory.folder))


def test_without_an_approved_plan_there_is_a_warning(write: Write) -> None:
    results = named(local.approval(write()))["approval"]
    assert (results.state, results.found) == (
        CheckState.WARN,
        "no plan is approved: all requests are refused",
    )


@pytest.mark.parametrize(("days", "state", "text"), [(200, "ok", "200 days left"), (5, "warn", "5 days left")])
def test_an_approved_plan(write: Write, days: int, state: str, text: str) -> None:
    directory = write()
    layout = Layout((("head.weight", (2,)),), ())
    plan = Plan.of(Settings(), "0.1.0", "grading", Weights(np.zeros(2, np.float32), np.zeros(0, np.float32), layout))
    approve(directory, plan, "EC 12/26", (date.today() + days * DAY).isoformat())
    results = named(local.approval(directory))["approval"]
    assert (results.state, results.found) == (state, f"plan {plan.digest[:12]}, EC 12/26, {text}")
    refusing = named(local.approval(write(limits={"networks": ["resnet18"]})))["approval"]
    assert (refusing.state, refusing.found[-30:]) == (CheckState.WARN, "network not in limits.networks")
    file = directory.approval(plan.digest)
    file.write_text(file.read_text().replace((date.today() + days * DAY).isoformat(), "2020-01-01"))
    assert "expired on 2020-01-01: its requests are refused" in named(local.approval(directory))["approval"].found


@pytest.mark.parametrize(
    ("limits", "state"), [({}, "ok"), ({"hours": "20:00-06:00"}, "ok"), ({"hours": "20:00-20:00"}, "fail")]
)
def test_limits(write: Write, limits: dict[str, object], state: str) -> None:
    assert states(named(local.limits(write(limits=limits)))) == {"limits": state}


def test_the_machine(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    assert states(named(local.cores(write(limits={"cores": 1})))) == {"cores": "ok"}
    assert states(named(local.cores(write(limits={"cores": 1000})))) == {"cores": "warn"}
    for free, state in ((8e9, "ok"), (5e9, "warn"), (1e9, "fail")):
        monkeypatch.setattr(local, "_free_of_unit", lambda free=free: free)
        monkeypatch.setattr(local, "_free_of_machine", lambda: 8e9)
        assert states(named(local.memory(write()))) == {"memory": state}


def test_the_file_cache_of_a_container_counts_as_free_memory(
    write: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(local, "CGROUP", tmp_path)
    monkeypatch.setattr(local, "_free_of_machine", lambda: 20e9)
    for name, content in {"max": "8000000000\n", "current": "7900000000\n"}.items():
        (tmp_path / f"memory.{name}").write_text(content)
    for cached, state in ((0, "fail"), (7_000_000_000, "ok")):
        (tmp_path / "memory.stat").write_text(f"anon 1\nactive_file 2\ninactive_file {cached}\n")
        assert states(named(local.memory(write()))) == {"memory": state}
