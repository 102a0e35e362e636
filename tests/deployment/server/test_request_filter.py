"""Which requests pass the server's filter: an ASGI app, called as uvicorn calls it."""

import asyncio
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flwr.supercore.primitives.asymmetric import generate_key_pairs, public_key_to_bytes, sign_message

from teledx_fed.deployment.common.certificates import fingerprint
from teledx_fed.deployment.server import superlink
from teledx_fed.deployment.server.request_filter import (
    ACTIVATE,
    ACTIVATE_BYTES,
    MOST_REASONS,
    REPLAY_SECONDS,
    LogLimiter,
    Receive,
    RequestFilter,
    Scope,
    Send,
)

PULL = "/v1/fleet/pull-messages"


class Inner:
    """Reads the whole body, answers 200 and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        self.calls += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


KEYS = [generate_key_pairs() for _ in range(3)]
NORTH, SOUTH, UNKNOWN = range(3)


def public(key: int) -> bytes:
    return public_key_to_bytes(KEYS[key][1])


class Clients:
    """Calls by two admitted hospitals and an unknown client; each has a new timestamp unless `timestamp` is set."""

    def __init__(self, largest: int = 100, a_second: float = 1000.0) -> None:
        self.inner, self.now, self.reasons = Inner(), 0.0, list[str]()
        admitted = {public(NORTH), public(SOUTH)}.__contains__
        self.filter = RequestFilter(
            self.inner, admitted, largest, a_second, self.reasons.append, clock=lambda: self.now
        )
        self.signed = 0

    def headers(self, timestamp: str, key: int = NORTH) -> list[tuple[bytes, bytes]]:
        signature = sign_message(KEYS[key][0], timestamp.encode())
        signed = {b"flwr-public-key": b64encode(public(key)), b"flwr-timestamp": timestamp.encode()}
        return [*signed.items(), (b"flwr-signature", b64encode(signature))]

    def call(
        self,
        path: str = PULL,
        body: Sequence[bytes] = (b"",),
        timestamp: str | None = None,
        key: int = NORTH,
        headers: Sequence[tuple[bytes, bytes]] | None = None,
        address: str = "10.0.0.1",
        length: int | None = None,
    ) -> int:
        self.signed += 1
        declared = [(b"content-length", str(length).encode())] if length is not None else []
        signed = self.headers(timestamp or f"moment {self.signed}", key) if headers is None else headers
        scope = {"type": "http", "path": path, "headers": [*signed, *declared], "client": (address, 1)}
        pieces = [{"type": "http.request", "body": piece, "more_body": True} for piece in body]
        pieces[-1]["more_body"] = False
        answers: list[Any] = []

        async def receive() -> Any:
            return pieces.pop(0)

        async def send(message: Any) -> None:
            answers.append(message)

        asyncio.run(self.filter(scope, receive, send))
        return int(answers[0]["status"])


def test_hospitals_reach_only_fleet_calls() -> None:
    clients = Clients()
    assert clients.call() == 200
    others = ["/v1/control/start-run", "/v1/control/register-node", "/v1/runtime/acquire-task", "/docs", "/health", "/"]
    assert [clients.call(path) for path in others] == [404] * len(others)
    assert clients.inner.calls == 1


def test_a_replayed_message_is_refused() -> None:
    clients = Clients()
    assert clients.call(timestamp="noon") == 200
    assert clients.call(timestamp="noon") == 401
    assert clients.call(timestamp="noon", key=SOUTH) == 200
    assert "a request that was sent before" in clients.reasons


def test_a_signature_is_kept_longer_than_flower_accepts_it() -> None:
    clients = Clients()
    clients.call(timestamp="noon")
    clients.now = 311.0
    assert clients.call(timestamp="noon") == 401
    clients.now = REPLAY_SECONDS + 1
    assert clients.call(timestamp="noon") == 200  # Flower refuses it as too old


def test_an_unsigned_request_is_refused_before_its_body_is_read() -> None:
    clients = Clients()
    key, moment, signature = clients.headers("noon")
    forged = (b"flwr-signature", b64encode(b"scribble"))
    later, other = (b"flwr-timestamp", b"later"), (b"flwr-public-key", b64encode(public(SOUTH)))
    for headers in ([], [key, moment], [key, moment, forged], [key, later, signature], [other, moment, signature]):
        assert clients.call(headers=headers, body=[b"x" * 1000]) == 401
    assert clients.inner.calls == 0
    assert set(clients.reasons) == {"a request that no site signed"}


def test_a_repeated_header_is_refused() -> None:
    clients = Clients()
    signed = clients.headers("noon")
    assert clients.call(headers=signed) == 200
    assert clients.call(headers=[*signed, (b"flwr-timestamp", b"later")]) == 401


def test_an_unknown_key_may_only_activate_and_its_fingerprint_is_reported() -> None:
    clients = Clients(largest=10**6)
    assert clients.call(key=UNKNOWN) == 401
    assert clients.call(ACTIVATE, key=UNKNOWN, body=[b"x" * (ACTIVATE_BYTES + 1)]) == 413
    assert clients.inner.calls == 0
    assert clients.call(ACTIVATE, key=UNKNOWN) == 200
    assert clients.inner.calls == 1
    logged = f"a key that is not admitted: {fingerprint(public(UNKNOWN))}"
    assert clients.reasons == [logged, logged, "a request that is too large", logged]


def test_many_unknown_clients_do_not_fill_the_log() -> None:
    logged: list[str] = []
    seldom = LogLimiter(logged.append, clock=lambda: 0.0)
    for number in range(1000):
        seldom(f"client {number}")
    assert len(logged) == MOST_REASONS


def test_a_large_body_is_refused_by_its_length_and_by_its_bytes() -> None:
    clients = Clients(largest=100)
    assert clients.call(length=101) == 413
    assert clients.call(body=[b"x" * 60, b"x" * 60]) == 413
    assert clients.call(body=[b"x" * 60, b"x" * 40]) == 200
    assert clients.inner.calls == 1


def test_a_flood_from_one_address_does_not_affect_others() -> None:
    clients = Clients(a_second=1.0)
    statuses = [clients.call() for _ in range(12)]
    assert statuses == [200] * 10 + [503] * 2
    assert clients.call(address="10.0.0.2") == 200
    clients.now = 11.0
    assert clients.call() == 200


def test_headers_of_a_proxy_do_not_change_a_site_s_address(tmp_path: Path) -> None:
    assert not superlink._server(Clients().filter, tmp_path, "127.0.0.1", 0, "off").config.proxy_headers
