"""Flower's SuperNode, as the site's client starts it, with a server that fails; and its worker."""

import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest
from flwr.app import Context, Message
from flwr.proto.fleet_pb2 import ActivateNodeResponse
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatResponse

from benchmarks.jobs.processes import free_port
from teledx_fed.deployment.server import certificate_authority
from teledx_fed.deployment.site import joining
from teledx_fed.deployment.site.joining import SuperNodeSupervisor
from teledx_fed.deployment.site.layout import init_site
from teledx_fed.deployment.site.settings import SiteDirectory
from teledx_fed.deployment.site.supernode import launch
from teledx_fed.deployment.site.worker import serve

pytestmark = pytest.mark.slow

ACTIVATE, HEARTBEAT, PULL = "/v1/fleet/activate-node", "/v1/fleet/send-node-heartbeat", "/v1/fleet/pull-messages"
WELL = {
    ACTIVATE: (200, ActivateNodeResponse(node_id=7).SerializeToString()),
    HEARTBEAT: (200, SendNodeHeartbeatResponse(success=True).SerializeToString()),
    PULL: (200, b""),
}


@contextmanager
def answering(folder: Path, **answers: tuple[int, bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a SuperNode with a TLS server that gives these answers by path."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status, body = {**WELL, **answers}.get(self.path, (404, b""))
            self.send_response(status)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    certificate_authority.create_authority(folder)
    certificate_authority.issue_server_certificate(folder, [])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, daemon=True).start()
        directory = SiteDirectory(folder / "site")
        init_site(directory, "hospital", f"localhost:{server.server_port}", folder / "ca.crt")
        node = launch(directory, free_port())
        try:
            yield node
        finally:
            node.kill()
            node.wait()
            server.shutdown()


@pytest.mark.parametrize(
    "answers",
    [{PULL: (500, b"")}, {HEARTBEAT: (500, b"")}, {HEARTBEAT: (200, b"")}],
    ids=["a fault of the server's", "a heartbeat that fails", "a heartbeat of a node that it does not know"],
)
def test_the_supernode_exits_when_its_connection_or_heartbeat_fails(
    tmp_path: Path, answers: dict[str, tuple[int, bytes]]
) -> None:
    with answering(tmp_path, **answers) as node:
        assert node.wait(180) == 1


def test_the_supernode_retries_when_the_server_is_busy(tmp_path: Path) -> None:
    later = (503, b"too many requests from one address")
    with answering(tmp_path, **{PULL: later, HEARTBEAT: later}) as node:
        log = tmp_path / "site" / "state" / "supernode.log"
        while node.poll() is None and log.read_text().count("retrying in") < 3:
            time.sleep(0.1)
        assert node.poll() is None


@pytest.fixture
def foreign() -> Iterator[Callable[[], tuple[int, list[str]]]]:
    """Return a function that starts an HTTP server other than Flower's, and returns its port and requested paths."""
    running = []

    def start() -> tuple[int, list[str]]:
        requests: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                requests.append(self.path)
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"hello")

        running.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        Thread(target=running[-1].serve_forever, daemon=True).start()
        return running[-1].server_port, requests

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def test_the_worker_tolerates_another_program_on_its_port_and_changes_port(
    tmp_path: Path, foreign: Callable[[], tuple[int, list[str]]]
) -> None:
    directory = SiteDirectory(tmp_path / "site")
    (tmp_path / "ca.crt").write_text("")
    init_site(directory, "hospital", "localhost:9092", tmp_path / "ca.crt")
    (before, asked_before), (after, asked_after) = foreign(), foreign()
    until = time.monotonic() + 60

    def still() -> bool:
        return not asked_after and time.monotonic() < until

    def never(message: Message, context: Context) -> Message:
        raise AssertionError("nobody asked")

    serve(lambda: after if asked_before else before, directory.executor_key, never, still)
    assert asked_before
    assert asked_after


def test_each_restart_uses_a_new_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ports, stop = list[int](), Event()

    def ends(directory: SiteDirectory, port: int) -> subprocess.Popen[bytes]:
        ports.append(port)
        if len(ports) == 2:
            stop.set()
        return subprocess.Popen(["true"])

    directory = SiteDirectory(tmp_path / "site")
    directory.node_log.parent.mkdir(parents=True)
    directory.node_log.write_text("")
    monkeypatch.setattr(joining, "launch", ends)
    SuperNodeSupervisor(directory, iter((9001, 9002, 9003)).__next__, stop, print).run()
    assert ports == [9001, 9002]
