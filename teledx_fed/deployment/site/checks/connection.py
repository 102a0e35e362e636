"""From this machine to the server: by itself or through a proxy, as the SuperNode will go."""

import socket
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self
from urllib.request import getproxies

import httpx

from teledx_fed.deployment.common.certificates import Claims, claims
from teledx_fed.deployment.common.settings import checked_address
from teledx_fed.deployment.site.checks.check import Check, fail, ok
from teledx_fed.deployment.site.settings import SiteSettings
from teledx_fed.deployment.site.supernode import HERE, proxied

SECONDS = 10.0
PORTS = {"http": 80, "https": 443}


class Barred(Exception):
    """The way ends here."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.found)
        self.check = check


@dataclass(frozen=True)
class Way:
    host: str
    port: int
    proxy: httpx.URL | None = None

    @classmethod
    def of(cls, settings: SiteSettings) -> Self:
        """A `ValueError` where site.yaml names a proxy that is none. The environment's counts where it names none."""
        host, port = checked_address("server", settings.server)
        proxied(settings.proxy)
        around = getproxies()
        proxy = settings.proxy or around.get("https") or around.get("all")
        if proxy is None or host in HERE.split(","):
            return cls(host, port)
        return cls(host, port, httpx.URL(proxy if "://" in proxy else f"http://{proxy}"))

    @property
    def server(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def hop(self) -> tuple[str, int]:
        """The machine that this one speaks to first."""
        if self.proxy is None:
            return self.host, self.port
        return self.proxy.host, self.proxy.port or PORTS.get(self.proxy.scheme, 80)

    def client(self, trusting: ssl.SSLContext) -> httpx.Client:
        return httpx.Client(proxy=self.proxy, verify=trusting, trust_env=False, timeout=SECONDS)

    def presented(self) -> Claims | None:
        """What the certificate that is shown claims, believed by nobody."""
        anyone = ssl.create_default_context()
        anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
        seen = Witness()
        with suppress(httpx.HTTPError), self.client(anyone) as client:
            client.head(f"https://{self.server}/", extensions={"trace": seen})
        return seen.claims


class Witness:
    """Traces a request of httpx's, and remembers what the certificate claims that is shown in it."""

    claims: Claims | None = None

    def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        if event.endswith("start_tls.complete"):
            self.claims = claims(info["return_value"].get_extra_info("ssl_object").getpeercert(True))


def resolved(way: Way) -> Check:
    host, port = way.hop
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        remedy = f"Correct {'proxy' if way.proxy else 'server'} in site.yaml, or ask IT why DNS does not know the name."
        raise Barred(fail("name", f"{host} does not resolve: {error}", remedy)) from error
    return ok("name", f"{host}: {', '.join(sorted({str(address[0]) for *_, address in found}))}")


def connected(way: Way) -> Check:
    host, port = way.hop
    try:
        socket.create_connection(way.hop, SECONDS).close()
    except ConnectionRefusedError as error:
        whose = "Correct proxy in site.yaml." if way.proxy else "Ask the coordinator whether the server is up."
        raise Barred(fail("connection", f"nothing listens on {host}:{port}", whose)) from error
    except TimeoutError as error:
        other = "" if way.proxy else ", or name the proxy that leads out in site.yaml"
        remedy = f"A firewall drops it: ask IT to allow outgoing TCP to {host}:{port}{other}."
        raise Barred(fail("connection", f"no answer from {host}:{port} in {SECONDS:g} s", remedy)) from error
    except OSError as error:
        remedy = f"Ask IT for a route to {host}:{port}."
        raise Barred(fail("connection", f"{host}:{port} is not reached: {error.strerror}", remedy)) from error
    return ok("connection", f"{host}:{port} answers")


def passed(way: Way) -> Check:
    host, port = way.hop
    return ok("proxy", f"{host}:{port} lets CONNECT to {way.server} pass")


def stopped(way: Way, answer: str) -> Check:
    """By a proxy whose `answer` to CONNECT begins with its status."""
    host, port = way.hop
    found = f"{host}:{port} answers CONNECT to {way.server} with {answer}"
    match answer[:3]:
        case "407" if way.proxy is not None and way.proxy.username:
            remedy = (
                "It turns away the user and password in site.yaml: correct them, with @ and : in them written %40 and "
                "%3A. Where it wants NTLM or Kerberos, ask IT to exempt this machine."
            )
        case "407":
            remedy = f"It wants credentials: write proxy: http://USER:PASSWORD@{host}:{port} in site.yaml."
        case "502" | "503" | "504":
            remedy = f"It does not reach the server: ask IT to allow {way.server}, the coordinator whether it is up."
        case _:
            remedy = f"Ask IT to allow CONNECT to {way.server}."
    return fail("proxy", found, remedy)
