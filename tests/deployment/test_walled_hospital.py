"""A hospital in a network namespace: it connects to one address only, and the tests record every attempt."""

import os
import shutil
import socket
import struct
import subprocess
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from benchmarks.jobs.deployed import Federation, running

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.geteuid() != 0 or shutil.which("ip") is None, reason="network namespaces need root and ip"),
]

OUTSIDE, INSIDE = "10.77.0.1", "10.77.0.2"
BEHIND_THE_PROXY = "10.78.0.1"
NAMESPACE, LINK = "teledx-hospital", "teledx0"
TINY = ("model.name=test_efficientnet", "model.initial=none")
CREDENTIALS = "radiology:s3cret"
SYN, SYN_ACK = 0x02, 0x12
"""TCP flags: a segment with SYN and without ACK opens a connection."""


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def walled() -> Iterator[list[tuple[str, int]]]:
    """Create the namespace and yield the destinations of its connection attempts, as (address, port)."""
    tried: list[tuple[str, int]] = []
    ip("netns", "add", NAMESPACE)
    try:
        ip("link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
        ip("address", "add", f"{OUTSIDE}/30", "dev", LINK)
        ip("address", "add", f"{BEHIND_THE_PROXY}/32", "dev", LINK)
        ip("link", "set", LINK, "up")
        for words in (
            ("address", "add", f"{INSIDE}/30", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
        ):
            ip("-n", NAMESPACE, *words)
        # all packets leave by this route, where the sniffer records them
        ip("-n", NAMESPACE, "route", "add", "default", "via", OUTSIDE)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as sniffer:
            sniffer.bind((LINK, 0))
            threading.Thread(target=_watch, args=(sniffer, tried), daemon=True).start()
            yield tried
    finally:
        ip("link", "delete", LINK)  # the kernel deletes a namespace later, and would keep the link's name until then
        ip("netns", "delete", NAMESPACE)


def _watch(sniffer: socket.socket, tried: list[tuple[str, int]]) -> None:
    with suppress(OSError):
        while frame := sniffer.recv(1 << 16):
            packet = frame[14:]
            header = 4 * (packet[0] & 15)
            begins = packet[9] != socket.IPPROTO_TCP or packet[header + 13] & SYN_ACK == SYN
            if socket.inet_ntoa(packet[12:16]) != INSIDE or not begins:
                continue
            (port,) = struct.unpack("!H", packet[header + 2 : header + 4])
            tried.append((socket.inet_ntoa(packet[16:20]), port))


@contextmanager
def walled_federation(folder: Path) -> Iterator[tuple[Federation, list[tuple[str, int]]]]:
    with walled() as tried, running(folder, hosts=(OUTSIDE, BEHIND_THE_PROXY)) as federation:
        federation.enrol("north", within=("ip", "netns", "exec", NAMESPACE))
        yield federation, tried


def finish_a_round(federation: Federation) -> None:
    federation.join("north")
    federation.order("walled", *TINY, "federation.rounds=1")
    federation.wait_until_done("walled")
    assert federation.rounds("walled")[0]["accepted"] == ["north"]


def test_a_round_needs_one_destination_and_no_open_port(tmp_path: Path) -> None:
    with walled_federation(tmp_path) as (federation, tried):
        federation.change("north", server=f"{OUTSIDE}:{federation.port}")
        finish_a_round(federation)
        assert set(tried) == {(OUTSIDE, federation.port)}
        listening = subprocess.run(
            ["ip", "netns", "exec", NAMESPACE, "ss", "-Htln"], capture_output=True, text=True, check=True
        ).stdout
        addresses = [line.split()[3].rsplit(":", 1)[0] for line in listening.splitlines()]
        assert addresses
        assert set(addresses) == {"127.0.0.1"}


def test_a_round_through_a_proxy_that_asks_for_credentials(tmp_path: Path) -> None:
    with walled_federation(tmp_path) as (federation, tried), proxied() as (port, destinations):
        server = f"{BEHIND_THE_PROXY}:{federation.port}"
        federation.change("north", server=server, proxy=f"http://{CREDENTIALS}@{OUTSIDE}:{port}")
        finish_a_round(federation)
        assert set(tried) == {(OUTSIDE, port)}
        assert set(destinations) == {server}


@contextmanager
def proxied() -> Iterator[tuple[int, list[str]]]:
    """An HTTP proxy for CONNECT with one user; yields its port and the requested destinations."""
    destinations: list[str] = []
    with socket.create_server((OUTSIDE, 0)) as listener:
        threading.Thread(target=_accept, args=(listener, destinations), daemon=True).start()
        yield listener.getsockname()[1], destinations


def _accept(listener: socket.socket, destinations: list[str]) -> None:
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            threading.Thread(target=_tunnel, args=(client, destinations), daemon=True).start()


def _tunnel(client: socket.socket, destinations: list[str]) -> None:
    with suppress(OSError), client:
        request = b""
        while b"\r\n\r\n" not in request:
            request += client.recv(4096)
        target = request.split()[1].decode()
        if b64encode(CREDENTIALS.encode()) not in request:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n")
            return
        destinations.append(target)
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=_copy, args=(server, client), daemon=True)
            back.start()
            _copy(client, server)


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(1 << 16):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
