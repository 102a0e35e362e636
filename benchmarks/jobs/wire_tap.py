"""Proxy between hospitals and their server that records messages unencrypted, and can cut connections."""

import asyncio
import ssl
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

PIECE = 1 << 16


@dataclass
class WireTap:
    """Proxy with the server's own certificate, so that hospitals accept it as the server."""

    certificates: Path
    server_port: int
    recorded: bytearray = field(default_factory=bytearray)
    bytes_until_cut: int | None = None
    """Bytes from hospitals before the cut: it ends the connection that sends the last of them, and all later ones."""
    cut: threading.Event = field(default_factory=threading.Event)
    port: int = 0
    listening: threading.Event = field(default_factory=threading.Event)

    def mend(self) -> None:
        self.bytes_until_cut = None
        self.cut.clear()

    async def listen(self) -> None:
        inner = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        inner.load_cert_chain(self.certificates / "server.crt", self.certificates / "server.key")
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=inner)
        self.port = int(server.sockets[0].getsockname()[1])
        self.listening.set()
        async with server:
            await server.serve_forever()

    async def _serve(self, site: StreamReader, to_site: StreamWriter) -> None:
        with suppress(OSError, ssl.SSLError):
            if not self.cut.is_set():
                outer = ssl.create_default_context(cafile=self.certificates / "ca.crt")
                address = ("127.0.0.1", self.server_port)
                server, to_server = await asyncio.open_connection(*address, ssl=outer, server_hostname="localhost")
                await asyncio.gather(self._pass(site, to_server, True), self._pass(server, to_site, False))
        to_site.close()

    async def _pass(self, source: StreamReader, sink: StreamWriter, upward: bool) -> None:
        with suppress(OSError, ssl.SSLError):
            while (piece := await source.read(PIECE)) and not (upward and self._is_cut(len(piece))):
                self.recorded += piece
                sink.write(piece)
                await sink.drain()
        sink.close()

    def _is_cut(self, size: int) -> bool:
        if self.bytes_until_cut is not None:
            self.bytes_until_cut -= size
            if self.bytes_until_cut <= 0:
                self.cut.set()
        return self.cut.is_set()


@contextmanager
def tapped(certificates: Path, server_port: int) -> Iterator[WireTap]:
    """Run a proxy in a thread that ends with this process."""
    tap = WireTap(certificates, server_port)
    threading.Thread(target=lambda: asyncio.run(tap.listen()), daemon=True).start()
    tap.listening.wait(10)
    yield tap
