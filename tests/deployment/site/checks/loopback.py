"""Servers and proxies on loopback for the tests, and checks by name."""

import json
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from http.client import parse_headers
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseRequestHandler, StreamRequestHandler, ThreadingTCPServer
from threading import Thread
from typing import Any

from flwr.proto.fleet_pb2 import ActivateNodeRequest
from flwr.supercore.error import ApiErrorCode

from teledx_fed.deployment.site.checks.check import Check

HOST = "127.0.0.2"
"""A loopback address that does not bypass a proxy."""
ADMITTED, NOT_ADMITTED = ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL, ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED


def named(checks: Iterator[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def states(checks: dict[str, Check]) -> dict[str, str]:
    return {name: check.state.value for name, check in checks.items()}


class Coordinator(BaseHTTPRequestHandler):
    """Answers every call as Flower answers a hospital's; its clock is `shift` seconds ahead of this machine's."""

    protocol_version = "HTTP/1.1"
    shift, status, code = 0.0, 400, ADMITTED

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["content-length"]))
        assert ActivateNodeRequest.FromString(sent).heartbeat_interval == 0
        self._answer(json.dumps({"code": self.code, "detail": ""}).encode())

    def do_HEAD(self) -> None:
        self._answer(b"")

    def _answer(self, body: bytes) -> None:
        self.send_response(self.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string(datetime.now().timestamp() + self.shift)

    def log_message(self, *args: object) -> None:
        pass


class Loopback(ThreadingTCPServer):
    daemon_threads = True
    context: ssl.SSLContext | None = None

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.context is None:
            super().finish_request(request, client_address)
            return
        with self.context.wrap_socket(request, server_side=True) as tls:
            super().finish_request(tls, client_address)  # type: ignore[arg-type]

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: in these tests, clients that close the connection are expected."""


@contextmanager
def listening(handler: type[BaseRequestHandler], certificates: Path | None = None) -> Iterator[int]:
    with Loopback((HOST, 0), handler) as loopback:
        if certificates is not None:
            loopback.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            loopback.context.load_cert_chain(certificates / "server.crt", certificates / "server.key")
        thread = Thread(target=loopback.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield loopback.server_address[1]
        finally:
            loopback.shutdown()
            thread.join()


def coordinator(certificates: Path, **answers: Any) -> AbstractContextManager[int]:
    return listening(type("Answering", (Coordinator,), answers), certificates)


@contextmanager
def proxy(credentials: str | None = None, refuses: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Run an HTTP proxy; yield its port and the destinations that clients requested."""
    authorization = f"Basic {b64encode(credentials.encode()).decode()}" if credentials else None
    destinations: list[str] = []

    class Tunnel(StreamRequestHandler):
        def handle(self) -> None:
            target = self.rfile.readline().split()[1].decode()
            destinations.append(target)
            if parse_headers(self.rfile).get("proxy-authorization") != authorization:
                self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n")
            elif refuses:
                self.wfile.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
            else:
                host, _, port = target.rpartition(":")
                with socket.create_connection((host, int(port))) as beyond:
                    self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                    back = Thread(target=pour, args=(beyond, self.connection))
                    back.start()
                    pour(self.connection, beyond)
                    back.join()

    with listening(Tunnel) as port:
        yield port, destinations


def pour(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass
