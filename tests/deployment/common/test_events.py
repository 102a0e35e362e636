import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from invented_federation import NODES, NOW, Known, home, night, report, run

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
    def seen(
        *reports: RoundReport, nodes: tuple[Node, ...] = (), ended: float = 40, status: str = "running"
    ) -> Overview:
        server = home(tmp_path)
        run(server, "night-3", reports, ended=ended)
        return overview(server, nodes, [Known("night-3", status)], NOW)

    return seen


def test_a_night_without_trouble(see: See) -> None:
    assert server_events(see(report(1), nodes=tuple(online())), ROOM) == []
    assert site_events(True, (), 200, ROOM) == []


def test_a_stalled_run(see: See) -> None:
    (found,) = server_events(see(ended=9000), ROOM)
    assert (found.kind, found.about) == (Kind.STALLED_RUN, "night-3")


def test_a_silent_site(see: See) -> None:
    found = server_events(see(report(1), report(2, silent=["ddr"]), nodes=tuple(online())), ROOM)
    assert found == [Event(Kind.SILENT_SITE, "ddr", "round 2: no reply before the deadline")]


def test_a_site_that_is_away(see: See) -> None:
    found = server_events(see(report(1), nodes=NODES), ROOM)
    assert found == [Event(Kind.SILENT_SITE, "messidor", "it is not connected")]


def test_a_refused_update(see: See) -> None:
    found = server_events(see(report(1, refused=["ddr"], reason="NaN"), nodes=tuple(online())), ROOM)
    assert found == [Event(Kind.REFUSED_UPDATE, "night-3, ddr", "round 1: NaN")]


def test_a_refusal_until_another_hour_is_none(see: See) -> None:
    assert server_events(see(report(1, refused=["ddr"], reason="not now"), nodes=tuple(online())), ROOM) == []


def test_a_site_that_was_expelled_is_not_missed(see: See) -> None:
    assert server_events(see(report(1, silent=["messidor"]), nodes=NODES[:3]), ROOM) == []


def test_a_run_that_ended_misses_nobody(see: See) -> None:
    assert server_events(see(*night(), nodes=NODES, status="completed"), ROOM) == []


@pytest.mark.parametrize(("days", "told"), [(30, False), (29, True), (-1, True), (None, False)])
def test_a_certificate_under_thirty_days(see: See, days: int | None, told: bool) -> None:
    seen = replace(see(nodes=tuple(online())), certificate_days=days)
    for events in (server_events(seen, ROOM), site_events(True, (), days, ROOM)):
        assert [event.kind for event in events] == [Kind.CERTIFICATE] * told


@pytest.mark.parametrize(
    ("space", "told"),
    [
        (Disk(10 * 2**30, 100 * 2**30), False),
        (Disk(10 * 2**30 - 1, 100 * 2**30), True),
        (Disk(2**30, 5 * 2**30), False),
        (Disk(2**30 - 1, 5 * 2**30), True),
    ],
)
def test_a_disk_under_a_tenth_or_a_gibibyte(see: See, space: Disk, told: bool) -> None:
    for events in (server_events(see(nodes=tuple(online())), space), site_events(True, (), None, space)):
        assert [event.kind for event in events] == [Kind.DISK] * told


def test_what_a_site_tells_of_itself() -> None:
    found = site_events(False, {"train"}, None, ROOM)
    assert [(event.kind, event.about) for event in found] == [
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
        self.told: list[dict[str, Any]] = []
        self.status = 204
        super().__init__(("127.0.0.1", 0), _Answer)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook?secret=key"


class _Answer(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        self.server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
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
    watcher = Watcher("fl.example.org", tmp_path / "told.json", hook.address)
    for _ in range(3):
        watcher.tell(TROUBLE)
    assert [(told["from"], told["event"], told["about"], told["detail"]) for told in hook.told] == [
        ("fl.example.org", "silent site", "messidor", "round 7"),
        ("fl.example.org", "disk almost full", "disk", "0.5 GiB"),
    ]


def test_an_event_that_goes_on_is_not_told_again_after_a_restart(hook: Hook, tmp_path: Path) -> None:
    for round in (7, 8):
        event = Event(Kind.SILENT_SITE, "messidor", f"round {round}")
        Watcher("here", tmp_path / "told.json", hook.address).tell([event])
    assert len(hook.told) == 1


def test_an_event_that_comes_back_is_told_again(hook: Hook, tmp_path: Path) -> None:
    watcher = Watcher("here", tmp_path / "told.json", hook.address)
    for events in (TROUBLE[:1], [], TROUBLE[:1]):
        watcher.tell(events)
    assert len(hook.told) == 2


@pytest.mark.parametrize("status", [302, 404, 500])
def test_what_a_webhook_did_not_take_is_told_the_next_time(
    hook: Hook, tmp_path: Path, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    watcher = Watcher("here", tmp_path / "told.json", hook.address)
    hook.status = status
    watcher.tell(TROUBLE)
    assert len(hook.told) == 1
    assert f"it answered {status}" in caplog.text
    hook.status = 200
    watcher.tell(TROUBLE)
    watcher.tell(TROUBLE)
    assert [told["about"] for told in hook.told] == ["messidor", "messidor", "disk"]


@pytest.mark.parametrize("address", ["http://127.0.0.1:9/?secret=key", "file:///secret=key", "http://[secret=key"])
def test_a_webhook_that_cannot_be_reached_breaks_nothing_and_its_address_is_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, address: str
) -> None:
    Watcher("here", tmp_path / "told.json", address).tell(TROUBLE)
    assert "the webhook did not take it" in caplog.text
    assert "secret=key" not in caplog.text


def test_without_a_webhook_each_event_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    watcher = Watcher("here", tmp_path / "told.json", None)
    watcher.tell(TROUBLE)
    watcher.tell(TROUBLE)
    assert [record.getMessage() for record in caplog.records] == [
        "silent site: messidor (round 7)",
        "disk almost full: disk (0.5 GiB)",
    ]


def test_on_a_full_disk_it_tells_once_all_the_same(
    hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, content: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("teledx_fed.deployment.common.events.write_text", full)
    watcher = Watcher("here", tmp_path / "told.json", hook.address)
    watcher.tell(TROUBLE)
    watcher.tell(TROUBLE)
    assert len(hook.told) == 2
    assert "No space left" in caplog.text


def test_a_memory_that_was_cut_short_tells_again(hook: Hook, tmp_path: Path) -> None:
    (tmp_path / "told.json").write_text('["silent si')
    Watcher("here", tmp_path / "told.json", hook.address).tell(TROUBLE[:1])
    assert len(hook.told) == 1
