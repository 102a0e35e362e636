"""Check that the server's certificate is the coordinator's, and if not, find out who presents it."""

import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from teledx_fed.deployment.common.certificates import Claims, claims, expires
from teledx_fed.deployment.common.events import CERTIFICATE_DAYS
from teledx_fed.deployment.site.checks.check import Check, fail, warn_if
from teledx_fed.deployment.site.checks.connection import SECONDS, Connection

EARLY, EXPIRED, HOST, ADDRESS = 9, 10, 62, 64
"""Verification errors of OpenSSL (X509_V_ERR_…)."""
OURS = "teledx_fed authority "


def trusting(authority: Path) -> ssl.SSLContext:
    """Trust only this authority, as the SuperNode does. A `ConfigurationError` if the file holds no certificate."""
    expires(authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority)
    return context


def certificate(presented: Claims) -> Check:
    """Check the expiry of a verified certificate."""
    days = (presented.ends - datetime.now(UTC)).days
    finding = f"issued by {presented.issuer!r}, {days} days left"
    return warn_if(days < CERTIFICATE_DAYS, "certificate", finding, "Remind the coordinator to renew it.")


def objection(connection: Connection, error: BaseException, authority: Path) -> Check:
    """Explain why TLS failed on a connection that was established."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _unbelieved(connection, cause, authority)
    finding, remedy = (
        f"the connection to {connection.server} ends early: {error or type(error).__name__}",
        _cut(connection),
    )
    if any(isinstance(cause, TimeoutError) for cause in causes):
        finding = f"{connection.server} does not answer for {SECONDS:g} s"
    elif any(isinstance(cause, ssl.SSLError) for cause in causes):
        finding = f"{connection.server} does not speak correct TLS: {error}"
    return fail("certificate", finding, remedy)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _cut(connection: Connection) -> str:
    return (
        f"Compare {connection.server} with the address from the coordinator. If it is right, a firewall may cut "
        f"connections that it cannot read: ask IT to exempt {connection.server} from TLS inspection."
    )


def _unbelieved(connection: Connection, error: ssl.SSLCertVerificationError, authority: Path) -> Check:
    presented = connection.presented()
    if presented is None:
        return fail("certificate", f"{connection.server} is not trusted: {error.verify_message}", _cut(connection))
    if error.verify_code == EXPIRED and presented.ends < datetime.now(UTC):
        remedy = "The coordinator must renew it: python -m server renew."
        return fail("certificate", f"the server's certificate expired on {presented.ends:%Y-%m-%d}", remedy)
    if error.verify_code in (EARLY, EXPIRED):
        remedy = "Set this machine's clock; if it is right, ask the coordinator for the current ca.crt."
        return fail("certificate", f"not valid at this machine's time: {error.verify_message}", remedy)
    if error.verify_code in (HOST, ADDRESS):
        return _misnamed(connection, presented)
    return _foreign(connection, presented, claims(authority).subject)


def _misnamed(connection: Connection, presented: Claims) -> Check:
    return fail(
        "certificate",
        f"the server's certificate is for {', '.join(presented.hosts) or presented.subject}, not for {connection.host}",
        f"Write one of these as server in site.yaml, or ask the coordinator for a certificate for {connection.host}.",
    )


def _foreign(connection: Connection, presented: Claims, authority: str) -> Check:
    """Explain a chain that does not end in ca.crt. Each of our own authorities has a unique name."""
    issuer = presented.issuer
    if issuer == authority or issuer.startswith(OURS):
        finding = f"the server's certificate was issued by {issuer!r}, ca.crt is of another authority ({authority!r})"
        remedy = "Ask the coordinator for the current ca.crt, and compare its fingerprint by telephone."
        return fail("certificate", finding, remedy)
    return fail(
        "certificate",
        f"the certificate was issued by {issuer!r}, not by the coordinator's authority {authority!r}: "
        "your network inspects TLS",
        f"Ask IT to exempt {connection.server}. If nothing inspects it, ask the coordinator for the current ca.crt.",
    )
