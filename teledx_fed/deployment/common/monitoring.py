"""Serve health and metrics over HTTP, and repeat a task in the background."""

import json
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from teledx_fed.core.errors import ConfigurationError
from teledx_fed.deployment.common.metrics import CONTENT_TYPE, Metrics, exposition
from teledx_fed.deployment.common.settings import checked_address

log = logging.getLogger(__name__)

Health = Callable[[], Mapping[str, bool]]
"""Named checks; all must hold."""


@contextmanager
def watched(listen: str | None, metrics: Callable[[], Metrics], health: Health) -> Iterator[None]:
    """Serve `/metrics` and `/healthz` at `HOST:PORT` from background threads while the block runs.

    A `ConfigurationError` if the port is taken. None starts no server.
    """
    if listen is None:
        yield
        return
    try:
        server = _Server(checked_address("watch.listen", listen), metrics, health)
    except OSError as error:
        raise ConfigurationError(
            f"watch.listen must be free, got {listen!r} ({error}). Choose another port."
        ) from error
    with server:
        threading.Thread(target=server.serve_forever, args=(0.1,), name="watch", daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


@contextmanager
def repeatedly(act: Callable[[], None], seconds: float = 30.0) -> Iterator[None]:
    """Call `act` in a background thread while the block runs; log an exception, and call it again."""
    ended = threading.Event()

    def loop() -> None:
        while not ended.is_set():
            try:
                act()
            except Exception:
                log.exception("a background task failed; it runs again")
            ended.wait(seconds)

    threading.Thread(target=loop, name="watcher", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], metrics: Callable[[], Metrics], health: Health) -> None:
        self.metrics, self.health = metrics, health
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        super().__init__(address, _Answer)

    def server_bind(self) -> None:
        """Bind without HTTPServer's look-up of the host's name, which may send a DNS request."""
        socketserver.TCPServer.server_bind(self)


class _Answer(BaseHTTPRequestHandler):
    server: _Server
    timeout = 10

    def do_GET(self) -> None:
        try:
            answer = self._answer(self.path.partition("?")[0])
        except Exception:
            log.exception("%s could not be answered", self.path)
            answer = 503, "text/plain", b"an error occurred, see the log\n"
        self._send(*answer)

    def _answer(self, path: str) -> tuple[int, str, bytes]:
        if path == "/metrics":
            return 200, CONTENT_TYPE, exposition(self.server.metrics())
        if path == "/healthz":
            checks = self.server.health()
            healthy = all(checks.values())
            body = json.dumps({"healthy": healthy, "checks": dict(checks)}) + "\n"
            return 200 if healthy else 503, "application/json", body.encode()
        return 404, "text/plain", b"there are /healthz and /metrics\n"

    def _send(self, status: int, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Log nothing: a request arrives every few seconds."""
