import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from invented_federation import NODES, NOW, directory_in, flower_run, night, report, run

from teledx_fed.core.reports import RoundReport
from teledx_fed.deployment.common.events import Disk, Event, Kind, Watcher, disk
from teledx_fed.deployment.server.monitoring import server_events
from teledx_fed.deployment.server.overview import Node, Overview, overview
from teledx_fed.deployment.site.monitoring import site_events

ROOM = Disk(free=50 * 2**30, total=100 * 2**30)
TROUBLE = [Event(Kind.SILENT_SITE, "messidor", "round 7"), Event(Kind.DISK, "disk", "0.5 GiB")]
See = Callable[..., Overview]


@pytest.fixture
def see(tmp_path: Path) -> See:
    def overview_of(
        *reports: RoundReport, nodes: tuple[Node, ...] = (), ended: float = 40, status: str = "running"
    ) -> Overview:
        server = directory_in(tmp_path)
        run(server, "night-3", reports, ended=ended)
        return overview(server, nodes, [flower_run("night-3", status)], NOW)

    return overview_of


def test_a_night_without_trouble(see: See) -> None:
    assert server_events(see(report(1), nodes=tuple(online())), ROOM) == []
    assert site_events(True, (), 200, ROOM) == []


def test_a_stalled_run(see: See) -> None:
    (event,) = server_events(see(ended=9000), ROOM)
    assert (event.kind, event.about) == (Kind.STALLED_RUN, "night-3")


def test_a_silent_site(see: See) -> None:
    events = server_events(see(report(1), report(2, silent=["ddr"]), nodes=tuple(online())), ROOM)
    assert events == [Event(Kind.SILENT_SITE, "ddr", "round 2: no reply before the deadline")]


def test_a_site_that_is_offline(see: See) -> None:
    events = server_events(see(report(1), nodes=NODES), ROOM)
    assert events == [Event(Kind.SILENT_SITE, "messidor", "it is not connected")]


def test_a_refused_update(see: See) -> None:
    events = server_events(see(report(1, refused=["ddr"], reason="NaN"), nodes=tuple(online())), ROOM)
    assert events == [Event(Kind.REFUSED_UPDATE, "night-3, ddr", "round 1: NaN")]


def test_a_refusal_outside_the_hours_is_no_event(see: See) -> None:
    assert server_events(see(report(1, refused=["ddr"], reason="not now"), nodes=tuple(online())), ROOM) == []


def test_an_expelled_site_is_no_event(see: See) -> None:
    assert server_events(see(report(1, silent=["messidor"]), nodes=NODES[:3]), ROOM) == []


def test_a_finished_run_has_no_events(see: See) -> None:
    assert server_events(see(*night(), nodes=NODES, status="completed"), ROOM) == []


@pytest.mark.parametrize(("days", "reported"), [(30, False), (29, True), (-1, True), (None, False)])
def test_a_certificate_under_thirty_days(see: See, days: int | None, reported: bool) -> None:
    status = replace(see(nodes=tuple(online())), certificate_days=days)
    for events in (server_events(status, ROOM), site_events(True, (), days, ROOM)):
        assert [event.kind for event in events] == [Kind.CERTIFICATE] * reported


@pytest.mark.parametrize(
    ("space", "reported"),
    [
        (Disk(10 * 2**30, 100 * 2**30), False),
        (Disk(10 * 2**30 - 1, 100 * 2**30), True),
        (Disk(2**30, 5 * 2**30), False),
        (Disk(2**30 - 1, 5 * 2**30), True),
    ],
)
def test_a_disk_under_a_tenth_or_a_gibibyte(see: See, space: Disk, reported: bool) -> None:
    for events in (server_events(see(nodes=tuple(online())), space), site_events(True, (), None, space)):
        assert [event.kind for event in events] == [Kind.DISK] * reported


def test_events_of_a_site() -> None:
    events = site_events(False, {"train"}, None, ROOM)
    assert [(event.kind, event.about) for event in events] == [
        (Kind.SUPERNODE, "supernode"),
        (Kind.FAILED_MESSAGE, "train"),
    ]


def test_the_disk_of_a_folder(tmp_path: Path) -> None:
    assert 0 < disk(tmp_path).free <= disk(tmp_path).total


def online() -> Iterator[Node]:
    return (replace(node, online=True) for node in NODES)


class Hook(HTTPServer):
    """A webhook that stores what it receives and answers `status`."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status = 204
        super().__init__(("127.0.0.1", 0), _Answer)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?secret=key"


class _Answer(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        self.server.received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_each_event_is_posted_once(hook: Hook, tmp_path: Path) -> None:
    watcher = Watcher("fl.example.org", tmp_path / "reported.json", hook.address)
    for _ in range(3):
        watcher.report(TROUBLE)
    assert [(body["from"], body["event"], body["about"], body["detail"]) for body in hook.received] == [
        ("fl.example.org", "silent site", "messidor", "round 7"),
        ("fl.example.org", "disk almost full", "disk", "0.5 GiB"),
    ]


def test_a_continuing_event_is_reported_once_over_a_restart(hook: Hook, tmp_path: Path) -> None:
    for round in (7, 8):
        event = Event(Kind.SILENT_SITE, "messidor", f"round {round}")
        Watcher("here", tmp_path / "reported.json", hook.address).report([event])
    assert len(hook.received) == 1


def test_an_event_that_comes_back_is_reported_again(hook: Hook, tmp_path: Path) -> None:
    watcher = Watcher("here", tmp_path / "reported.json", hook.address)
    for events in (TROUBLE[:1], [], TROUBLE[:1]):
        watcher.report(events)
    assert len(hook.received) == 2


@pytest.mark.parametrize("status", [302, 404, 500])
def test_an_event_that_the_webhook_refused_is_sent_again(
    hook: Hook, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    watcher = Watcher("here", tmp_path / "reported.json", hook.address)
    hook.status = status
    watcher.report(TROUBLE)
    assert len(hook.received) == 1
    assert f"it answered {status}" in caplog.text
    hook.status = 200
    watcher.report(TROUBLE)
    watcher.report(TROUBLE)
    assert [body["about"] for body in hook.received] == ["messidor", "messidor", "disk"]


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/?secret=key", "file:///secret=key", "http://[secret=key"])
def test_a_webhook_that_cannot_be_reached_breaks_nothing_and_its_address_is_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, address: str
) -> None:
    Watcher("here", tmp_path / "reported.json", address).report(TROUBLE)
    assert "the webhook did not accept it" in caplog.text
    assert "secret=key" not in caplog.text


def test_without_a_webhook_each_event_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    watcher = Watcher("here", tmp_path / "reported.json", None)
    watcher.report(TROUBLE)
    watcher.report(TROUBLE)
    assert [record.getMessage() for record in caplog.records] == [
        "silent site: messidor (round 7)",
        "disk almost full: disk (0.5 GiB)",
    ]


def test_an_event_is_reported_once_on_a_full_disk(
    hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, content: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("teledx_fed.deployment.common.events.write_text", full)
    watcher = Watcher("here", tmp_path / "reported.json", hook.address)
    watcher.report(TROUBLE)
    watcher.report(TROUBLE)
    assert len(hook.received) == 2
    assert "No space left" in caplog.text


def test_a_truncated_file_of_reported_events_reports_again(hook: Hook, tmp_path: Path) -> None:
    (tmp_path / "reported.json").write_text('["silent si')
    Watcher("here", tmp_path / "reported.json", hook.address).report(TROUBLE[:1])
    assert len(hook.received) == 1
