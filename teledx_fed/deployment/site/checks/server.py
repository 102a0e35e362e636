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
from teledx_fed.deployment.site.checks.check import Check, Checks, fail, ok, warn
from teledx_fed.deployment.site.checks.connection import (
    CertificateTrace,
    CheckFailed,
    Connection,
    connected,
    passed,
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
class Answer:
    """An answer; `asked` and `came` are Unix times of this machine, `told` of the server (None if it sent no Date)."""

    status: int
    code: int | None
    told: float | None
    asked: float
    came: float


class Caller:
    """Sends the signed request."""

    def __init__(self, home: SiteDirectory, connection: Connection, client: httpx.Client) -> None:
        key = site_key(home.private_key)
        self._client, self._url = client, f"https://{connection.server}{PATH}"
        self._signer, self.seen = NodeAuthHttpInterceptor(key, key.public_key()), CertificateTrace()
        self._message = ActivateNodeRequest(public_key=public_key_to_bytes(key.public_key()), heartbeat_interval=0.0)

    def __call__(self) -> Answer:
        headers = {"content-type": PROTOBUF_MEDIA_TYPE, "accept": PROTOBUF_MEDIA_TYPE}
        content = self._message.SerializeToString()
        traced = {"trace": self.seen}
        request = self._client.build_request("POST", self._url, content=content, headers=headers, extensions=traced)
        context, asked = ProtobufRequestContext(CALL, self._message, request), time.time()
        response = self._signer.intercept(context, lambda context: self._client.send(context.request))
        came, date, refused = time.time(), response.headers.get("date"), FlowerError.from_json(response.text)
        told = parsedate_to_datetime(date).timestamp() if date else None
        return Answer(response.status_code, refused.code if refused else None, told, asked, came)


def checks(home: SiteDirectory) -> Checks:
    """Yield the checks; each needs the one before, so the first failed connection ends them."""
    try:
        connection = Connection.of(home.settings)
        yield resolved(connection)
        yield connected(connection)
        with connection.client(trusting(home.authority)) as client:
            call = Caller(home, connection, client)
            yield from _answering(home, connection, call)
    except CheckFailed as barred:
        yield barred.check
        yield warn("network", "what comes after could not be checked", "Check again once this is mended.")


def _answering(home: SiteDirectory, connection: Connection, call: Caller) -> Checks:
    try:
        first = call()
    except httpx.ProxyError as error:
        raise CheckFailed(stopped(connection, str(error))) from error
    except httpx.TransportError as error:
        yield from _through(connection)
        raise CheckFailed(objection(connection, error, home.authority)) from error
    yield from _through(connection)
    if call.seen.claims is not None:
        yield certificate(call.seen.claims)
    yield clock([first, *_more(call)])
    yield admitted(first, home, connection)


def _through(connection: Connection) -> Checks:
    if connection.proxy is not None:
        yield passed(connection)


def _more(call: Caller) -> list[Answer]:
    answers = []
    for _ in range(READINGS - 1):
        time.sleep(PAUSE_SECONDS)
        answers.append(call())
    return answers


def clock(answers: Sequence[Answer]) -> Check:
    """Check how far this clock is ahead of the server's: all answers together give a lower and an upper bound."""
    told = [(answer, answer.told) for answer in answers if answer.told is not None]
    if not told:
        return warn("clock", "the server tells no time", "See that this machine's clock is set by NTP.")
    least = max(answer.asked - date for answer, date in told) - DATE_LAGS
    most = min(answer.came - date for answer, date in told)
    found = f"{number(least, '.1f')} to {number(most, '.1f')} s ahead of the server's"
    if most > MOST_AHEAD:
        remedy = f"Set it by NTP: from {SYSTEM_TIME_TOLERANCE} s ahead on, the server turns every message away."
        return fail("clock", found, remedy)
    if most < -TIMESTAMP_TOLERANCE:
        remedy = f"Set it by NTP: from {TIMESTAMP_TOLERANCE} s behind on, the server turns every message away."
        return fail("clock", found, remedy)
    if most < -FAR_BEHIND:
        return warn("clock", found, f"Set it by NTP: {TIMESTAMP_TOLERANCE} s behind, messages are turned away.")
    return ok("clock", found)


def admitted(answer: Answer, home: SiteDirectory, connection: Connection) -> Check:
    match answer.code:
        case ApiErrorCode.FLEET_INVALID_HEARTBEAT_INTERVAL:
            return ok("admission", "the server knows this hospital's key")
        case ApiErrorCode.FLEET_NODE_ACTIVATION_FAILED:
            shown = fingerprint(home.public_key)
            remedy = f"Send {home.public_key} (fingerprint {shown}) to the coordinator, to be admitted."
            return fail("admission", "the server does not know this hospital's key", remedy)
    if answer.status == httpx.codes.UNAUTHORIZED:
        return fail("admission", "the server turns the signature away", "Set the clock first, see above.")
    remedy = f"Ask the coordinator whether its server answers at {connection.server}."
    return fail("admission", f"{connection.server} answers {answer.status}, as no server of teledx_fed does", remedy)
