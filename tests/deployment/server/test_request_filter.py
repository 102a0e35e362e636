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
NORTH, SOUTH, STRANGER = range(3)


def public(key: int) -> bytes:
    return public_key_to_bytes(KEYS[key][1])


class Caller:
    """Calls by two admitted hospitals and an unknown client; each call has a new timestamp unless `when` is set."""

    def __init__(self, largest: int = 100, a_second: float = 1000.0) -> None:
        self.inner, self.now, self.reasons = Inner(), 0.0, list[str]()
        known = {public(NORTH), public(SOUTH)}.__contains__
        self.filter = RequestFilter(self.inner, known, largest, a_second, self.reasons.append, clock=lambda: self.now)
        self.signed = 0

    def headers(self, when: str, key: int = NORTH) -> list[tuple[bytes, bytes]]:
        signature = sign_message(KEYS[key][0], when.encode())
        signed = {b"flwr-public-key": b64encode(public(key)), b"flwr-timestamp": when.encode()}
        return [*signed.items(), (b"flwr-signature", b64encode(signature))]

    def call(
        self,
        path: str = PULL,
        body: Sequence[bytes] = (b"",),
        when: str | None = None,
        key: int = NORTH,
        headers: Sequence[tuple[bytes, bytes]] | None = None,
        address: str = "10.0.0.1",
        length: int | None = None,
    ) -> int:
        self.signed += 1
        said = [(b"content-length", str(length).encode())] if length is not None else []
        signed = self.headers(when or f"moment {self.signed}", key) if headers is None else headers
        scope = {"type": "http", "path": path, "headers": [*signed, *said], "client": (address, 1)}
        pieces = [{"type": "http.request", "body": piece, "more_body": True} for piece in body]
        pieces[-1]["more_body"] = False
        answers: list[Any] = []

        async def receive() -> Any:
            return pieces.pop(0)

        async def send(message: Any) -> None:
            answers.append(message)

        asyncio.run(self.filter(scope, receive, send))
        return int(answers[0]["status"])


def test_hospitals_reach_fleet_calls_and_nothing_else() -> None:
    caller = Caller()
    assert caller.call() == 200
    others = ["/v1/control/start-run", "/v1/control/register-node", "/v1/runtime/acquire-task", "/docs", "/health", "/"]
    assert [caller.call(path) for path in others] == [404] * len(others)
    assert caller.inner.calls == 1


def test_a_message_comes_once() -> None:
    caller = Caller()
    assert caller.call(when="noon") == 200
    assert caller.call(when="noon") == 401
    assert caller.call(when="noon", key=SOUTH) == 200
    assert "a message that came before" in caller.reasons


def test_a_moment_is_remembered_for_longer_than_flower_takes_it() -> None:
    caller = Caller()
    caller.call(when="noon")
    caller.now = 311.0
    assert caller.call(when="noon") == 401
    caller.now = REPLAY_SECONDS + 1
    assert caller.call(when="noon") == 200  # Flower refuses it as too old


def test_what_nobody_signed_is_turned_away_before_its_body_is_read() -> None:
    caller = Caller()
    key, moment, signature = caller.headers("noon")
    forged = (b"flwr-signature", b64encode(b"scribble"))
    later, other = (b"flwr-timestamp", b"later"), (b"flwr-public-key", b64encode(public(SOUTH)))
    for headers in ([], [key, moment], [key, moment, forged], [key, later, signature], [other, moment, signature]):
        assert caller.call(headers=headers, body=[b"x" * 1000]) == 401
    assert caller.inner.calls == 0
    assert set(caller.reasons) == {"a request that no site signed"}


def test_a_header_twice_is_not_read_two_ways() -> None:
    caller = Caller()
    signed = caller.headers("noon")
    assert caller.call(headers=signed) == 200
    assert caller.call(headers=[*signed, (b"flwr-timestamp", b"later")]) == 401


def test_a_stranger_may_knock_and_no_more_and_the_coordinator_learns_the_fingerprint() -> None:
    caller = Caller(largest=10**6)
    assert caller.call(key=STRANGER) == 401
    assert caller.call(ACTIVATE, key=STRANGER, body=[b"x" * (ACTIVATE_BYTES + 1)]) == 413
    assert caller.inner.calls == 0
    assert caller.call(ACTIVATE, key=STRANGER) == 200
    assert caller.inner.calls == 1
    told = f"a key that is not admitted: {fingerprint(public(STRANGER))}"
    assert caller.reasons == [told, told, "a request that is too large", told]


def test_a_flood_of_strangers_does_not_flood_the_log() -> None:
    told: list[str] = []
    seldom = LogLimiter(told.append, clock=lambda: 0.0)
    for number in range(1000):
        seldom(f"stranger {number}")
    assert len(told) == MOST_REASONS


def test_a_large_body_is_refused_by_its_length_and_by_its_bytes() -> None:
    caller = Caller(largest=100)
    assert caller.call(length=101) == 413
    assert caller.call(body=[b"x" * 60, b"x" * 60]) == 413
    assert caller.call(body=[b"x" * 60, b"x" * 40]) == 200
    assert caller.inner.calls == 1


def test_a_flood_from_one_address_leaves_the_others_alone() -> None:
    caller = Caller(a_second=1.0)
    statuses = [caller.call() for _ in range(12)]
    assert statuses == [200] * 10 + [503] * 2
    assert caller.call(address="10.0.0.2") == 200
    caller.now = 11.0
    assert caller.call() == 200


def test_a_site_is_counted_by_its_own_address_whatever_a_header_says(tmp_path: Path) -> None:
    assert not superlink._server(Caller().filter, tmp_path, "127.0.0.1", 0, "off").config.proxy_headers
