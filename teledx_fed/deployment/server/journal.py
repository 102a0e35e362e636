"""Log the SuperLink's requests other than messages of our own runs: admissions, runs, messages of other apps."""

import asyncio
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from teledx_fed.deployment.common.audit import AuditLog
from teledx_fed.deployment.common.certificates import fingerprint
from teledx_fed.deployment.common.receipts import SHOWN
from teledx_fed.deployment.server.request_filter import ASGIApp, Receive, Scope, Send
from teledx_fed.federation.flower import (
    LinkState,
    Message,
    PushAppMessagesRequest,
    PushMessagesRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)

CONTROL, MESSAGES = "/v1/control/", "/push-messages"

Line = tuple[str, dict[str, Any]]


@dataclass(frozen=True)
class Journal:
    """An ASGI app around Flower's. `own_app` is the SHA-256 of our app bundle: our run logs its own messages."""

    app: ASGIApp
    audit: AuditLog
    state: Callable[[], LinkState]
    own_app: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] != "http" or not (path in LINES or path.endswith(MESSAGES)):
            await self.app(scope, receive, send)
            return
        body, status = await _body(receive), 0

        async def answered(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        lines = await asyncio.to_thread(
            self._lines, path, body
        )  # before the request is executed, because an expelled site has no name
        await self.app(scope, _replay(body, receive), answered)
        if status == 200:
            await asyncio.to_thread(self._write, lines)

    def _write(self, lines: list[Line]) -> None:
        for event, facts in lines:
            self.audit.append(event, **facts)

    def _lines(self, path: str, body: bytes) -> list[Line]:
        try:
            return list(LINES[path](self, body) if path in LINES else self._foreign(path, body))
        except DecodeError:
            return []  # Flower refuses it

    def admitted(self, body: bytes) -> Iterator[Line]:
        request = RegisterNodeRequest.FromString(body)
        yield "admitted", {"site": request.name[:SHOWN], "key": fingerprint(request.public_key)}

    def expelled(self, body: bytes) -> Iterator[Line]:
        yield "expelled", {"site": self._name(UnregisterNodeRequest.FromString(body).node_id)}

    def started(self, body: bytes) -> Iterator[Line]:
        request = StartRunRequest.FromString(body)
        run, is_ours = request.override_config["run"].string, request.fab.hash_str == self.own_app
        yield "run started", {"run": run[:SHOWN], "app": request.fab.hash_str[:64], "own": is_ours}

    def stopped(self, body: bytes) -> Iterator[Line]:
        yield "run stopped", {"flower_run": str(StopRunRequest.FromString(body).run_id)}

    def _foreign(self, path: str, body: bytes) -> Iterator[Line]:
        """Yield a line for each message of another app; `path` shows whether a site or the server's app sent it."""
        fleet = path.startswith("/v1/fleet/")
        request = (PushMessagesRequest if fleet else PushAppMessagesRequest).FromString(body)
        for message in request.messages_list:
            if not self._is_own(message):
                metadata = message.metadata
                site = metadata.src_node_id if fleet else metadata.dst_node_id
                event = "received of another app" if fleet else "sent of another app"
                facts = {"flower_run": str(metadata.run_id), "kind": metadata.message_type[:SHOWN]}
                yield event, {"site": self._name(site), **facts}

    def _is_own(self, message: Message) -> bool:
        runs = self.state().get_run_info(run_ids=[message.metadata.run_id])
        return any(run.fab_hash == self.own_app for run in runs)

    def _name(self, node: int) -> str:
        return next((info.name for info in self.state().get_node_info(node_ids=[node])), f"node {node}")


LINES: dict[str, Callable[[Journal, bytes], Iterator[Line]]] = {
    f"{CONTROL}register-node": Journal.admitted,
    f"{CONTROL}unregister-node": Journal.expelled,
    f"{CONTROL}start-run": Journal.started,
    f"{CONTROL}stop-run": Journal.stopped,
}


async def _body(receive: Receive) -> bytes:
    parts, more = list[bytes](), True
    while more:
        message = await receive()
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives `body` as one message, and then what the client sends."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> MutableMapping[str, Any]:
        return messages.pop() if messages else await receive()

    return again
