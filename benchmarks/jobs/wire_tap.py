"""Between hospitals and their server: what passes, in the clear; and a cut, wherever and whenever one is wanted."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PIECE = 1 << 16


@dataclass
class WireTap:
    """Holds the server's own certificate, so that hospitals take it for the server."""

    certificates: Path
    server_port: int
    recorded: bytearray = field(default_factory=bytearray)
    bytes_until_cut: int | None = None
    """Of what hospitals send; the connection that sends the last of them is cut, and so is each that begins then."""
    cut: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._inner = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._inner.load_cert_chain(self.certificates / "server.crt", self.certificates / "server.key")
        self._outer = ssl.create_default_context(cafile=self.certificates / "ca.crt")

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def mend(self) -> None:
        self.bytes_until_cut = None
        self.cut.clear()

    def run(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self, accepted: socket.socket) -> None:
        with suppress(OSError), accepted:
            if self.cut.is_set():
                return
            with (
                self._inner.wrap_socket(accepted, server_side=True) as site,
                socket.create_connection(("127.0.0.1", self.server_port)) as connection,
                self._outer.wrap_socket(connection, server_hostname="localhost") as server,
            ):
                back = threading.Thread(target=self._pass, args=(server, site, False), daemon=True)
                back.start()
                self._pass(site, server, True)

    def _pass(self, source: ssl.SSLSocket, sink: ssl.SSLSocket, upward: bool) -> None:
        with suppress(OSError):
            while (piece := source.recv(PIECE)) and not (upward and self._is_cut(len(piece))):
                with self._lock:
                    self.recorded += piece
                sink.sendall(piece)
            for end in (source, sink):
                end.shutdown(socket.SHUT_RDWR)

    def _is_cut(self, size: int) -> bool:
        with self._lock:
            if self.bytes_until_cut is not None:
                self.bytes_until_cut -= size
                if self.bytes_until_cut <= 0:
                    self.cut.set()
        return self.cut.is_set()


@contextmanager
def tapped(certificates: Path, server_port: int) -> Iterator[WireTap]:
    tap = WireTap(certificates, server_port)
    threading.Thread(target=tap.run, daemon=True).start()
    try:
        yield tap
    finally:
        tap.close()
