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


class Refused(Exception):
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
        known: Callable[[bytes], bool],
        largest: int,
        a_second: float,
        refuse: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`known` returns whether a key is admitted. `largest` limits a request's bytes, `a_second` the requests of one
        address; `refuse` is called with the reason of each refusal.
        """
        self._app, self._known, self._largest, self._refuse, self._clock = app, known, largest, refuse, clock
        self._most = a_second * FLOOD_SECONDS
        self._seen: OrderedDict[tuple[bytes, bytes], float] = OrderedDict()
        self._calls: defaultdict[str, deque[float]] = defaultdict(deque)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            largest = self._largest_of(scope)
            await self._app(scope, _bounded(receive, largest), send)
        except Refused as refused:
            self._refuse(refused.reason)
            await _answer(send, refused)

    def _largest_of(self, scope: Scope) -> int:
        """Return the size limit of this request, after a check of its declared length; its body is not read."""
        now = self._clock()
        if not scope["path"].startswith(FLEET):
            raise Refused(404, "a call that is not for hospitals")
        if self._floods(scope["client"][0], now):
            raise Refused(LATER, "too many requests from one address")
        key, moment = _signed(scope["headers"])
        known = self._known(key)
        if not known:
            self._report_unknown_key(key, scope["path"])
        if known and self._is_replayed((key, moment), now):
            raise Refused(UNAUTHENTICATED, "a message that came before")
        largest = self._largest if known else ACTIVATE_BYTES
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or len(length) > LONGEST_NUMBER:
            raise Refused(400, "a request whose length is no number")
        if int(length) > largest:
            raise Refused(413, "a request that is too large")
        return largest

    def _report_unknown_key(self, key: bytes, path: str) -> None:
        """Report a key that is not admitted. Flower answers its first call and logs nothing."""
        reason = f"a key that is not admitted: {fingerprint(key)}"
        if path != ACTIVATE:
            raise Refused(UNAUTHENTICATED, reason)
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
        while self._seen and next(iter(self._seen.values())) < now - REPLAY_SECONDS:
            self._seen.popitem(last=False)
        if signed in self._seen:
            return True
        self._seen[signed] = now
        return False


def _signed(headers: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    """Return the key and the signed timestamp. Each header must occur once: Flower might read the other of two.

    An attacker cannot write them in another form, as is possible with a signature.
    """
    given = {name: [value for key, value in headers if key == name] for name in (KEY, TIMESTAMP, SIGNATURE)}
    try:
        ((key,), (moment,), (signature,)) = given.values()
        key, signature = b64decode(key, validate=True), b64decode(signature, validate=True)
    except ValueError as error:
        raise Refused(UNAUTHENTICATED, UNSIGNED) from error
    if not is_signed_by(key, moment, signature):
        raise Refused(UNAUTHENTICATED, UNSIGNED)
    return key, moment


def _bounded(receive: Receive, largest: int) -> Receive:
    """Limit a body that arrives in pieces without a declared length."""
    left = largest

    async def bounded() -> MutableMapping[str, Any]:
        nonlocal left
        message = await receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise Refused(413, "a request that is too large")
        return message

    return bounded


async def _answer(send: Send, refused: Refused) -> None:
    body = refused.reason.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
