import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from invented_federation import HOSTILE, NODES, NOW, Known, home, night, report, run

from teledx_fed.deployment.server.certificate_authority import create_authority, issue_server_certificate
from teledx_fed.deployment.server.overview import (
    SILENT,
    Fault,
    Node,
    Overview,
    Reply,
    SiteStanding,
    State,
    overview,
    reports,
)
from teledx_fed.deployment.server.settings import ServerDirectory


@pytest.fixture
def server(tmp_path: Path) -> ServerDirectory:
    return home(tmp_path)


def site(seen: Overview, name: str) -> SiteStanding:
    return next(site for site in seen.sites if site.name == name)


def states(server: ServerDirectory, known: Sequence[Known] = ()) -> dict[str, State]:
    return {run.name: run.state for run in overview(server, NODES, known, NOW).runs}


def test_a_new_folder_has_no_run(server: ServerDirectory) -> None:
    seen = overview(server, [], [], NOW)
    assert (seen.up, seen.run, seen.runs, seen.rounds, seen.sites, seen.certificate_days) == (
        True,
        None,
        (),
        (),
        (),
        None,
    )


def test_a_night_of_training(server: ServerDirectory) -> None:
    run(server, "night-3", night())
    seen = overview(server, NODES, [Known("night-3")], NOW)
    assert seen.run
    assert (seen.run.name, seen.run.state, seen.run.round, seen.run.rounds) == ("night-3", State.RUNNING, 12, 20)
    assert seen.run.metrics == night()[-1].metrics
    assert (seen.run.bytes_up, seen.run.bytes_down) == (744_000_000, 768_000_000)
    assert seen.rounds == night()


def test_what_each_site_did_last(server: ServerDirectory) -> None:
    run(server, "night-3", night())
    seen = overview(server, NODES, [Known("night-3")], NOW)
    assert [site.name for site in seen.sites] == ["aravind", "ddr", "eyepacs", "messidor"]
    assert site(seen, "aravind") == SiteStanding(
        "aravind", True, "2026-11-23T06:14:05+00:00", Reply(12, night()[11].ended), last_fault=None
    )
    assert site(seen, "ddr").last_reply == Reply(11, night()[10].ended)
    assert site(seen, "ddr").last_fault == Fault(12, HOSTILE)
    assert site(seen, "messidor").last_fault == Fault(12, SILENT)
    assert not site(seen, "messidor").online


def test_the_sites_are_those_that_are_admitted_whether_or_not_they_took_part(server: ServerDirectory) -> None:
    run(server, "night-3", night())
    seen = overview(server, [Node("new", online=True), NODES[0]], [], NOW)
    assert [site.name for site in seen.sites] == ["aravind", "new"]
    assert site(seen, "new") == SiteStanding("new", True, None, None, None)


def test_that_a_site_does_not_compute_at_this_hour_is_no_fault(server: ServerDirectory) -> None:
    run(server, "night-3", [report(1), report(2, refused=["ddr"], reason="not now")])
    assert site(overview(server, NODES, [], NOW), "ddr").last_fault is None


@pytest.mark.parametrize(("ended", "state"), [(4255, State.RUNNING), (4265, State.STALLED)])
def test_a_run_has_stalled_past_its_deadline_and_its_waiting(
    server: ServerDirectory, ended: float, state: State
) -> None:
    run(server, "night-3", night(), ended=ended)
    assert states(server, [Known("night-3")]) == {"night-3": state}


def test_a_run_that_was_just_resumed_has_not_stalled(server: ServerDirectory) -> None:
    folder = run(server, "night-3", night(), ended=90_000)
    (folder / "order.json").touch()
    assert states(server, [Known("night-3")]) == {"night-3": State.RUNNING}


def test_a_run_that_the_server_does_not_work_at_has_stopped_or_finished(server: ServerDirectory) -> None:
    run(server, "night-1", [report(round) for round in range(1, 22)], ended=900)
    (server.run("night-1") / "model.safetensors").touch()
    run(server, "night-2", night())
    known = [Known("night-2", "failed", "no quorum"), Known("night-2", "running"), Known("night-1", "completed")]
    seen = overview(server, NODES, known, NOW)
    assert {run.name: run.state for run in seen.runs} == {"night-2": State.STOPPED, "night-1": State.FINISHED}
    assert [(run.details, run.round) for run in seen.runs] == [("no quorum", 12), ("", 20)]


def test_the_run_at_work_comes_first_then_the_newest(server: ServerDirectory) -> None:
    for name, ended in (("old", 900), ("working", 600), ("new", 1)):
        run(server, name, [report(1)], ended=ended)
    assert list(states(server, [Known("working")])) == ["working", "new", "old"]


def test_without_an_answer_no_site_is_online_and_no_run_at_work(server: ServerDirectory) -> None:
    run(server, "night-3", night())
    seen = overview(server, None, [], NOW)
    assert not seen.up
    assert [site.name for site in seen.sites] == ["aravind", "ddr", "eyepacs", "messidor"]
    assert not any(site.online for site in seen.sites)
    assert states(server) == {"night-3": State.STOPPED}


def test_a_line_that_is_being_written_is_read_the_next_time(server: ServerDirectory) -> None:
    folder = run(server, "night-3", [report(1)], lines='{"round": 2, "acce')
    assert reports(folder) == (report(1),)


def test_what_another_release_writes_of_a_round_is_passed_over(server: ServerDirectory) -> None:
    line = json.dumps({**asdict(report(2)), "mood": "good"})
    folder = run(server, "night-3", [report(1)], lines=f"{line}\n")
    assert reports(folder) == (report(1), report(2))


def test_a_folder_that_holds_no_order_is_a_run_of_unknown_length(server: ServerDirectory) -> None:
    server.run("bare").mkdir(parents=True)
    seen = overview(server, NODES, [], NOW).run
    assert seen
    assert (seen.state, seen.round, seen.rounds) == (State.STOPPED, 0, None)


def test_the_certificate_s_days(server: ServerDirectory) -> None:
    create_authority(server.certificates)
    issue_server_certificate(server.certificates, ["fl.example.org"], days=40)
    assert overview(server, NODES, []).certificate_days == 39


def test_an_overview_is_json(server: ServerDirectory) -> None:
    run(server, "night-3", night())
    seen = json.loads(json.dumps(asdict(overview(server, NODES, [Known("night-3")], NOW))))
    assert seen["runs"][0]["state"] == "running"
    assert seen["sites"][1]["last_fault"] == {"round": 12, "reason": HOSTILE}
    assert seen["rounds"][0] == {**asdict(report(1)), "accepted": list(report(1).accepted), "silent": []}


def test_rounds_are_those_of_the_run_that_comes_first(server: ServerDirectory) -> None:
    run(server, "old", [replace(report(1), seconds=7)], ended=900)
    run(server, "new", [report(1)])
    assert overview(server, NODES, [], NOW).rounds == (report(1),)
