"""Connect to the server as the SuperNode does: directly, or through a proxy."""

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self
from urllib.request import getproxies

import httpx

from teledx_fed.deployment.common.certificates import Claims, claims
from teledx_fed.deployment.common.settings import LOOPBACK_HOSTS, checked_address
from teledx_fed.deployment.site.checks.check import Check, fail, ok
from teledx_fed.deployment.site.settings import SiteSettings
from teledx_fed.deployment.site.supernode import proxied

SECONDS = 10.0
PORTS = {"http": 80, "https": 443}


class CheckFailed(Exception):
    """No later check is possible."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.found)
        self.check = check


@dataclass(frozen=True)
class Connection:
    host: str
    port: int
    proxy: httpx.URL | None = None

    @classmethod
    def of(cls, settings: SiteSettings) -> Self:
        """Take the proxy of site.yaml, else of the environment. A `ConfigurationError` if site.yaml's is invalid."""
        host, port = checked_address("server", settings.server)
        proxied(settings.proxy)
        around = getproxies()
        proxy = settings.proxy or around.get("https") or around.get("all")
        if proxy is None or host in LOOPBACK_HOSTS.split(","):
            return cls(host, port)
        return cls(host, port, httpx.URL(proxy if "://" in proxy else f"http://{proxy}"))

    @property
    def server(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def hop(self) -> tuple[str, int]:
        """Host and port that this machine connects to first: the proxy, or the server."""
        if self.proxy is None:
            return self.host, self.port
        return self.proxy.host, self.proxy.port or PORTS.get(self.proxy.scheme, 80)

    def client(self, trusting: ssl.SSLContext) -> httpx.Client:
        return httpx.Client(proxy=self.proxy, verify=trusting, trust_env=False, timeout=SECONDS)

    def presented(self) -> Claims | None:
        """Return the claims of the server's certificate without verifying them."""
        anyone = ssl.create_default_context()
        anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
        trace = CertificateTrace()
        with suppress(httpx.HTTPError), self.client(anyone) as client:
            client.head(f"https://{self.server}/", extensions={"trace": trace})
        return trace.claims


class CertificateTrace:
    """A trace of an httpx request that keeps the claims of the server's certificate."""

    claims: Claims | None = None

    def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith("start_tls.complete"):
            self.claims = claims(info["return_value"].get_extra_info("ssl_object").getpeercert(True))


def resolved(connection: Connection) -> Check:
    host, port = connection.hop
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        setting = "proxy" if connection.proxy else "server"
        remedy = f"Correct {setting} in site.yaml, or ask IT why DNS does not resolve the name."
        raise CheckFailed(fail("name", f"{host} does not resolve: {error}", remedy)) from error
    return ok("name", f"{host}: {', '.join(sorted({str(entry[0]) for *_, entry in addresses}))}")


def connected(connection: Connection) -> Check:
    host, port = connection.hop
    try:
        socket.create_connection(connection.hop, SECONDS).close()
    except ConnectionRefusedError as error:
        remedy = "Correct proxy in site.yaml." if connection.proxy else "Ask the coordinator whether the server is up."
        raise CheckFailed(fail("connection", f"nothing listens on {host}:{port}", remedy)) from error
    except TimeoutError as error:
        other = "" if connection.proxy else ", or write the proxy in site.yaml"
        remedy = f"A firewall drops the connection: ask IT to allow outgoing TCP to {host}:{port}{other}."
        raise CheckFailed(fail("connection", f"no answer from {host}:{port} in {SECONDS:g} s", remedy)) from error
    except OSError as error:
        remedy = f"Ask IT for a route to {host}:{port}."
        raise CheckFailed(fail("connection", f"{host}:{port} cannot be reached: {error.strerror}", remedy)) from error
    return ok("connection", f"{host}:{port} answers")


def stopped(connection: Connection, answer: str) -> Check:
    """Explain a proxy's refusal; its `answer` to CONNECT begins with the status."""
    host, port = connection.hop
    finding = f"{host}:{port} answers CONNECT to {connection.server} with {answer}"
    match answer[:3]:
        case "407" if connection.proxy is not None and connection.proxy.username:
            remedy = (
                "It refuses the user and password in site.yaml: correct them, and write @ as %40 and : as %3A in them. "
                "If it wants NTLM or Kerberos, ask IT to exempt this machine."
            )
        case "407":
            remedy = f"It wants credentials: write proxy: http://USER:PASSWORD@{host}:{port} in site.yaml."
        case "502" | "503" | "504":
            remedy = (
                f"It does not reach the server: ask IT to allow {connection.server}, the coordinator whether it is up."
            )
        case _:
            remedy = f"Ask IT to allow CONNECT to {connection.server}."
    return fail("proxy", finding, remedy)
