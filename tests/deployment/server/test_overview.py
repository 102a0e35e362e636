import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from invented_federation import HOSTILE, NODES, NOW, directory_in, flower_run, night, report, run

from teledx_fed.deployment.server.certificate_authority import create_authority, issue_server_certificate
from teledx_fed.deployment.server.overview import (
    SILENT,
    FlowerRun,
    Node,
    Overview,
    Reply,
    RunState,
    SiteFault,
    SiteStanding,
    overview,
    reports,
)
from teledx_fed.deployment.server.settings import ServerDirectory


@pytest.fixture
def server(tmp_path: Path) -> ServerDirectory:
    return directory_in(tmp_path)


def site(status: Overview, name: str) -> SiteStanding:
    return next(site for site in status.sites if site.name == name)


def states(server: ServerDirectory, runs: Sequence[FlowerRun] = ()) -> dict[str, RunState]:
    return {run.name: run.state for run in overview(server, NODES, runs, NOW).runs}


def test_a_new_folder_has_no_run(server: ServerDirectory) -> None:
    status = overview(server, [], [], NOW)
    assert (status.up, status.run, status.runs, status.rounds, status.sites, status.certificate_days) == (
        True,
        None,
        (),
        (),
        (),
        None,
    )


def test_a_night_of_training(server: ServerDirectory) -> None:
    run(server, "night-3", night())
    status = overview(server, NODES, [flower_run("night-3")], NOW)
    assert status.run
    assert (status.run.name, status.run.state, status.run.round, status.run.rounds) == (
        "night-3",
        RunState.RUNNING,
        12,
        20,
    )
    assert status.run.metrics == night()[-1].metrics
    assert (status.run.bytes_up, status.run.bytes_down) == (744_000_000, 768_000_000)
    assert status.rounds == night()


def test_the_last_reply_and_fault_of_each_site(server: ServerDirectory) -> None:
    run(server, "night-3", night())
    status = overview(server, NODES, [flower_run("night-3")], NOW)
    assert [site.name for site in status.sites] == ["aravind", "ddr", "eyepacs", "messidor"]
    assert site(status, "aravind") == SiteStanding(
        "aravind", True, "2026-11-23T06:14:05+00:00", Reply(12, night()[11].ended), last_fault=None
    )
    assert site(status, "ddr").last_reply == Reply(11, night()[10].ended)
    assert site(status, "ddr").last_fault == SiteFault(12, HOSTILE)
    assert site(status, "messidor").last_fault == SiteFault(12, SILENT)
    assert not site(status, "messidor").online


def test_the_sites_are_all_admitted_sites(server: ServerDirectory) -> None:
    run(server, "night-3", night())
    status = overview(server, [Node("new", online=True), NODES[0]], [], NOW)
    assert [site.name for site in status.sites] == ["aravind", "new"]
    assert site(status, "new") == SiteStanding("new", True, None, None, None)


def test_a_refusal_outside_the_hours_is_no_fault(server: ServerDirectory) -> None:
    run(server, "night-3", [report(1), report(2, refused=["ddr"], reason="not now")])
    assert site(overview(server, NODES, [], NOW), "ddr").last_fault is None


@pytest.mark.parametrize(("ended", "state"), [(4255, RunState.RUNNING), (4265, RunState.STALLED)])
def test_a_run_stalls_after_the_deadline_and_the_wait_for_sites(
    server: ServerDirectory, ended: float, state: RunState
) -> None:
    run(server, "night-3", night(), ended=ended)
    assert states(server, [flower_run("night-3")]) == {"night-3": state}


def test_a_run_that_was_just_resumed_has_not_stalled(server: ServerDirectory) -> None:
    folder = run(server, "night-3", night(), ended=90_000)
    (folder / "request.json").touch()
    assert states(server, [flower_run("night-3")]) == {"night-3": RunState.RUNNING}


def test_an_inactive_run_is_stopped_or_finished(server: ServerDirectory) -> None:
    run(server, "night-1", [report(round) for round in range(1, 22)], ended=900)
    (server.run("night-1") / "model.safetensors").touch()
    run(server, "night-2", night())
    runs = [
        flower_run("night-2", "failed", "no quorum"),
        flower_run("night-2", "running"),
        flower_run("night-1", "completed"),
    ]
    status = overview(server, NODES, runs, NOW)
    assert {run.name: run.state for run in status.runs} == {"night-2": RunState.STOPPED, "night-1": RunState.FINISHED}
    assert [(run.details, run.round) for run in status.runs] == [("no quorum", 12), ("", 20)]


def test_active_runs_come_first_then_the_newest(server: ServerDirectory) -> None:
    for name, ended in (("old", 900), ("working", 600), ("new", 1)):
        run(server, name, [report(1)], ended=ended)
    assert list(states(server, [flower_run("working")])) == ["working", "new", "old"]


def test_without_a_server_no_site_is_online_and_no_run_active(server: ServerDirectory) -> None:
    run(server, "night-3", night())
    status = overview(server, None, [], NOW)
    assert not status.up
    assert [site.name for site in status.sites] == ["aravind", "ddr", "eyepacs", "messidor"]
    assert not any(site.online for site in status.sites)
    assert states(server) == {"night-3": RunState.STOPPED}


def test_an_incomplete_line_is_not_read(server: ServerDirectory) -> None:
    folder = run(server, "night-3", [report(1)], lines='{"round": 2, "acce')
    assert reports(folder) == (report(1),)


def test_fields_of_another_release_are_ignored(server: ServerDirectory) -> None:
    line = json.dumps({**asdict(report(2)), "mood": "good"})
    folder = run(server, "night-3", [report(1)], lines=f"{line}\n")
    assert reports(folder) == (report(1), report(2))


def test_a_folder_without_a_request_is_a_run_of_unknown_length(server: ServerDirectory) -> None:
    server.run("bare").mkdir(parents=True)
    status = overview(server, NODES, [], NOW).run
    assert status
    assert (status.state, status.round, status.rounds) == (RunState.STOPPED, 0, None)


def test_days_until_the_certificate_expires(server: ServerDirectory) -> None:
    create_authority(server.certificates)
    issue_server_certificate(server.certificates, ["fl.example.org"], days=40)
    assert overview(server, NODES, []).certificate_days == 39


def test_an_overview_is_json(server: ServerDirectory) -> None:
    run(server, "night-3", night())
    status = json.loads(json.dumps(asdict(overview(server, NODES, [flower_run("night-3")], NOW))))
    assert status["runs"][0]["state"] == "running"
    assert status["sites"][1]["last_fault"] == {"round": 12, "reason": HOSTILE}
    assert status["rounds"][0] == {**asdict(report(1)), "accepted": list(report(1).accepted), "silent": []}


def test_the_rounds_are_those_of_the_first_run(server: ServerDirectory) -> None:
    run(server, "old", [replace(report(1), seconds=7)], ended=900)
    run(server, "new", [report(1)])
    assert overview(server, NODES, [], NOW).rounds == (report(1),)
