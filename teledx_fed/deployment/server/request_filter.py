"""Filter the requests of hospitals: accept only Flower's fleet calls, reject replays, limit size and rate."""

import time
from base64 import b64decode
from collections import OrderedDict, defaultdict, deque
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from teledx_fed.deployment.common.certificates import fingerprint
from teledx_fed.deployment.common.keys import is_signed_by

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

FLEET = "/v1/fleet/"
ACTIVATE, ACTIVATE_BYTES = "/v1/fleet/activate-node", 4096
"""The only call for a key that is not admitted: Flower answers that the key is not admitted."""
KEY, TIMESTAMP, SIGNATURE = b"flwr-public-key", b"flwr-timestamp", b"flwr-signature"
REPLAY_SECONDS = 330.0
"""Flower accepts a signature for 305 seconds; the filter keeps it longer, so that none is accepted twice."""
FLOOD_SECONDS = 10.0
LONGEST_NUMBER = 18
SELDOM_SECONDS, MOST_REASONS = 60.0, 50
MOST_ADDRESSES = 10_000
UNAUTHENTICATED = 401
LATER = 503
"""Not 429: Flower's client gives up on 429, which would cut off other sites behind the same address."""
UNSIGNED = "a request that no site signed"


class RejectedRequest(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class LogLimiter:
    """Logs a reason at most once a minute, and at most 50 reasons a minute, so that a flood does not fill the log."""

    def __init__(self, log: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._log, self._clock = log, clock
        self._logged: dict[str, float] = {}

    def __call__(self, reason: str) -> None:
        now = self._clock()
        self._logged = {logged: when for logged, when in self._logged.items() if now < when + SELDOM_SECONDS}
        if reason not in self._logged and len(self._logged) < MOST_REASONS:
            self._logged[reason] = now
            self._log(reason)


class RequestFilter:
    """An ASGI app in front of Flower's: the rest of its API (runs, admissions) answers on the loopback port only."""

    def __init__(
        self,
        app: ASGIApp,
        is_admitted: Callable[[bytes], bool],
        largest: int,
        a_second: float,
        refuse: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Limit a request to `largest` bytes, and an address to `a_second` requests a second.

        `is_admitted` returns whether a key is admitted; `refuse` is called with the reason of each refusal.
        """
        self._app, self._is_admitted, self._refuse, self._clock = app, is_admitted, refuse, clock
        self._largest, self._most = largest, a_second * FLOOD_SECONDS
        self._signatures: OrderedDict[tuple[bytes, bytes], float] = OrderedDict()
        self._calls: defaultdict[str, deque[float]] = defaultdict(deque)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            largest = self._largest_of(scope)
            await self._app(scope, _bounded(receive, largest), send)
        except RejectedRequest as rejection:
            self._refuse(rejection.reason)
            await _answer(send, rejection)

    def _largest_of(self, scope: Scope) -> int:
        """Return the size limit of this request, after a check of its declared length; its body is not read."""
        now = self._clock()
        if not scope["path"].startswith(FLEET):
            raise RejectedRequest(404, "a call that is not for hospitals")
        if self._floods(scope["client"][0], now):
            raise RejectedRequest(LATER, "too many requests from one address")
        key, moment = _signed(scope["headers"])
        admitted = self._is_admitted(key)
        if not admitted:
            self._report_unknown_key(key, scope["path"])
        if admitted and self._is_replayed((key, moment), now):
            raise RejectedRequest(UNAUTHENTICATED, "a request that was sent before")
        largest = self._largest if admitted else ACTIVATE_BYTES
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or len(length) > LONGEST_NUMBER:
            raise RejectedRequest(400, "a request whose length is not a number")
        if int(length) > largest:
            raise RejectedRequest(413, "a request that is too large")
        return largest

    def _report_unknown_key(self, key: bytes, path: str) -> None:
        """Report a key that is not admitted. Flower answers its first call and logs nothing."""
        reason = f"a key that is not admitted: {fingerprint(key)}"
        if path != ACTIVATE:
            raise RejectedRequest(UNAUTHENTICATED, reason)
        self._refuse(reason)

    def _floods(self, address: str, now: float) -> bool:
        if len(self._calls) > MOST_ADDRESSES:
            still = {one: calls for one, calls in self._calls.items() if calls and calls[-1] >= now - FLOOD_SECONDS}
            self._calls = defaultdict(deque, still)
        calls = self._calls[address]
        while calls and calls[0] < now - FLOOD_SECONDS:
            calls.popleft()
        if len(calls) >= self._most:
            return True
        calls.append(now)
        return False

    def _is_replayed(self, signed: tuple[bytes, bytes], now: float) -> bool:
        while self._signatures and next(iter(self._signatures.values())) < now - REPLAY_SECONDS:
            self._signatures.popitem(last=False)
        if signed in self._signatures:
            return True
        self._signatures[signed] = now
        return False


def _signed(headers: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """Return the key and the signed timestamp. Each header must occur once: Flower might read the other of two.

    An attacker cannot write them in another form, as is possible with a signature.
    """
    values = {name: [value for key, value in headers if key == name] for name in (KEY, TIMESTAMP, SIGNATURE)}
    try:
        ((key,), (moment,), (signature,)) = values.values()
        key, signature = b64decode(key, validate=True), b64decode(signature, validate=True)
    except ValueError as error:
        raise RejectedRequest(UNAUTHENTICATED, UNSIGNED) from error
    if not is_signed_by(key, moment, signature):
        raise RejectedRequest(UNAUTHENTICATED, UNSIGNED)
    return key, moment


def _bounded(receive: Receive, largest: int) -> Receive:
    """Limit a body that arrives in pieces without a declared length."""
    remaining = largest

    async def bounded() -> MutableMapping[str, Any]:
        nonlocal remaining
        message = await receive()
        remaining -= len(message.get("body", b""))
        if remaining < 0:
            raise RejectedRequest(413, "a request that is too large")
        return message

    return bounded


async def _answer(send: Send, rejection: RejectedRequest) -> None:
    body = rejection.reason.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": rejection.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
