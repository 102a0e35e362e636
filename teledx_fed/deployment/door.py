"""What a hospital may say to the server: Flower's fleet calls, each once, not too large and not too often."""

import binascii
import time
from base64 import b64decode
from collections import OrderedDict, defaultdict, deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

FLEET = "/v1/fleet/"
KEY, TIMESTAMP = b"flwr-public-key", b"flwr-timestamp"
REPLAY_SECONDS = 330.0
"""Flower takes a signature for 305 seconds; remembered a little longer, none is taken twice."""
FLOOD_SECONDS = 10.0
LONGEST_NUMBER = 18
SELDOM_SECONDS = 60.0


class Refused(Exception):
    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Seldom:
    """Tells of the same thing once a minute: who floods the server does not flood its log."""

    def __init__(self, tell: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._told: dict[str, float] = {}

    def __call__(self, reason: str) -> None:
        now = self._clock()
        if reason not in self._told or now >= self._told[reason] + SELDOM_SECONDS:
            self._told[reason] = now
            self._tell(reason)


class Door:
    """An ASGI app before Flower's: the rest of its API (runs, admissions) answers on the loopback port alone."""

    def __init__(
        self,
        app: ASGIApp,
        largest: int,
        a_second: float,
        refuse: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`largest` bounds a request's bytes, `a_second` those from one address; `refuse` hears of each refusal."""
        self._app, self._largest, self._refuse, self._clock = app, largest, refuse, clock
        self._most = a_second * FLOOD_SECONDS
        self._seen: OrderedDict[tuple[bytes, bytes], float] = OrderedDict()
        self._calls: defaultdict[str, deque[float]] = defaultdict(deque)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            self._check(scope)
            await self._app(scope, self._bounded(receive), send)
        except Refused as refused:
            self._refuse(refused.reason)
            await _answer(send, refused)

    def _check(self, scope: Scope) -> None:
        headers, now = dict(scope["headers"]), self._clock()
        if not scope["path"].startswith(FLEET):
            raise Refused(404, "a call that is not for hospitals")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or len(length) > LONGEST_NUMBER:
            raise Refused(400, "a request whose length is no number")
        if int(length) > self._largest:
            raise Refused(413, "a request that is too large")
        if self._floods(scope["client"][0], now):
            raise Refused(429, "too many requests from one address")
        if self._is_replayed(_signed(headers), now):
            raise Refused(401, "a message that came before")

    def _bounded(self, receive: Receive) -> Receive:
        """Of a body that comes in pieces without saying how large it will be."""
        left = self._largest

        async def bounded() -> MutableMapping[str, Any]:
            nonlocal left
            message = await receive()
            left -= len(message.get("body", b""))
            if left < 0:
                raise Refused(413, "a request that is too large")
            return message

        return bounded

    def _floods(self, address: str, now: float) -> bool:
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


def _signed(headers: dict[bytes, bytes]) -> tuple[bytes, bytes]:
    """The key and the moment that it signed: unlike the signature, nobody else can write them in another way."""
    try:
        return b64decode(headers[KEY], validate=True), headers[TIMESTAMP]
    except (KeyError, binascii.Error) as error:
        raise Refused(401, "a request that no site signed") from error


async def _answer(send: Send, refused: Refused) -> None:
    body = refused.reason.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
