"""Check that the server answers, is the coordinator's, has the same time, and admits this hospital's key.

The checks send a signed request to activate the hospital with a heartbeat interval of 0. A server refuses it from every
sender, and the reason shows whether it admits the key. The request changes nothing, even if the hospital has joined.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx

from teledx_fed.core.formatting import number
from teledx_fed.deployment.common.certificates import fingerprint
from teledx_fed.deployment.common.keys import site_key
from teledx_fed.deployment.site.checks.check import Check, Checks, fail, ok, warn, warn_if
from teledx_fed.deployment.site.checks.connection import (
    CertificateTrace,
    CheckFailed,
    Connection,
    connected,
    resolved,
    stopped,
)
from teledx_fed.deployment.site.checks.trust import certificate, objection, trusting
from teledx_fed.deployment.site.settings import SiteDirectory
from teledx_fed.federation.flower import (
    PROTOBUF_MEDIA_TYPE,
    SYSTEM_TIME_TOLERANCE,
    TIMESTAMP_TOLERANCE,
    ActivateNodeRequest,
    ApiErrorCode,
    FlowerError,
    NodeAuthHttpInterceptor,
    ProtobufRequestContext,
    public_key_to_bytes,
)

CALL = "/flwr.proto.Fleet/ActivateNode"
PATH = "/v1/fleet/activate-node"
MOST_AHEAD, FAR_BEHIND = 3.0, 60.0
DATE_LAGS = 2.0
"""Seconds by which a server's Date may be behind its clock: whole seconds, updated about once a second."""
READINGS, PAUSE_SECONDS = 6, 0.25
"""Six readings over more than a second give the clock difference to about a second."""


@dataclass(frozen=True)
class ProbeReply:
    """A reply; `sent` and `received` are Unix times of this machine, `server_time` of the server (None: no Date)."""

    status: int
    code: int | None
    server_time: float | None
    sent: float
    received: float


class ActivationProbe:
    """Sends the signed request."""

    def __init__(self, directory: SiteDirectory, connection: Connection, client: httpx.Client) -> None:
        key = site_key(directory.private_key)
        self._client, self._url = client, f"https://{connection.server}{PATH}"
        self._signer, self.trace = NodeAuthHttpInterceptor(key, key.public_key()), CertificateTrace()
        self._message = ActivateNodeRequest(public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=0.0)

    def __call__(self) -> ProbeReply:
        headers = {"content-type": PROTOBUF_MEDIA_TYPE, "accept": PROTOBUF_MEDIA_TYPE}
        content = self._message.SerializeToString()
        traced = {"trace": self.trace}
        request = self._client.build_request("POST", self._url, content=content, headers=headers, extensions=traced)
        context, sent = ProtobufRequestContext(CALL, self._message, request), time.time()
        response = self._signer.intercept(context, lambda context: self._client.send(context.request))
        received, date, refused = time.time(), response.headers.get("date"), FlowerError.from_json(response.text)
        server_time = parsedate_to_datetime(date).timestamp() if date else None
        return ProbeReply(response.status_code, refused.code if refused else None, server_time, sent, received)


def checks(directory: SiteDirectory) -> Checks:
    """Yield the checks; each needs the one before, so the first failed connection ends them."""
    try:
        connection = Connection.of(directory.settings)
        yield resolved(connection)
        yield connected(connection)
        with connection.client(trusting(directory.authority)) as client:
            probe = ActivationProbe(directory, connection, client)
            yield from _answering(directory, connection, probe)
    except CheckFailed as barred:
        yield barred.check
        yield warn("network", "the checks after this one did not run", "Correct this, and check again.")


def _answering(directory: SiteDirectory, connection: Connection, probe: ActivationProbe) -> Checks:
    try:
        first = probe()
    except httpx.ProxyError as error:
        raise CheckFailed(stopped(connection, str(error))) from error
    except httpx.TransportError as error:
        yield from _through(connection)
        raise CheckFailed(objection(connection, error, directory.authority)) from error
    yield from _through(connection)
    if probe.trace.claims is not None:
        yield certificate(probe.trace.claims)
    yield clock([first, *_more(probe)])
    yield admitted(first, directory, connection)


def _through(connection: Connection) -> Checks:
    if connection.proxy is not None:
        host, port = connection.hop
        yield ok("proxy", f"{host}:{port} allows CONNECT to {connection.server}")


def _more(probe: ActivationProbe) -> list[ProbeReply]:
    replies = []
    for _ in range(READINGS - 1):
        time.sleep(PAUSE_SECONDS)
        replies.append(probe())
    return replies


def clock(replies: Sequence[ProbeReply]) -> Check:
    """Check how far this clock is ahead of the server's: all replies together give a lower and an upper bound."""
    dated = [(reply, reply.server_time) for reply in replies if reply.server_time is not None]
    if not dated:
        return warn("clock", "the server sends no time", "Make sure that NTP sets this machine's clock.")
    least = max(reply.sent - date for reply, date in dated) - DATE_LAGS
    most = min(reply.received - date for reply, date in dated)
    finding = f"{number(least, '.1f')} to {number(most, '.1f')} s ahead of the server's"
    if most > MOST_AHEAD:
        remedy = f"Set it by NTP: the server refuses all messages of a clock {SYSTEM_TIME_TOLERANCE} s ahead."
        return fail("clock", finding, remedy)
    remedy = f"Set it by NTP: the server refuses all messages of a clock {TIMESTAMP_TOLERANCE} s behind."
    if most < -TIMESTAMP_TOLERANCE:
        return fail("clock", finding, remedy)
    return warn_if(most < -FAR_BEHIND, "clock", finding, remedy)


def admitted(reply: ProbeReply, directory: SiteDirectory, connection: Connection) -> Check:
    match reply.code:
        case ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL:
            return ok("admission", "the server admits this hospital's key")
        case ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED:
            shown = fingerprint(directory.public_key)
            remedy = f"Send {directory.public_key} (fingerprint {shown}) to the coordinator, to be admitted."
            return fail("admission", "the server does not admit this hospital's key", remedy)
    if reply.status == httpx.codes.UNAUTHORIZED:
        return fail("admission", "the server refuses the signature", "Set the clock first, see above.")
    remedy = f"Ask the coordinator whether its server answers at {connection.server}."
    return fail("admission", f"{connection.server} answers {reply.status}: it is not a server of teledx_fed", remedy)
