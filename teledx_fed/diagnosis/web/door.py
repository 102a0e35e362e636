"""Before a body is read: who sends it, and how much. Frameworks spool a body to disk before they ask who sent it."""

from collections.abc import Collection
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse

from teledx_fed.diagnosis.intake import LARGEST_MIB, MOST_IMAGES
from teledx_fed.diagnosis.web.refusals import refuse
from teledx_fed.diagnosis.web.sessions import whoever
from teledx_fed.store.access import Access

LARGEST_STUDY = MOST_IMAGES * LARGEST_MIB * 2**20
LARGEST_LOGIN = 16 * 2**10
LINK_IS_OVER = "This link was used, or its time is over. Ask for another."
MOST_DIGITS = 20
"""Of a length that is worth reading."""
WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")


NOT_OURS = "Host must be a name of this page, as allowed_hosts in diagnosis.yaml has it.\n"
FOREIGN = "This form was sent from another site. Load the page again, and send it from there.\n"


def misdirected(request: Request, hosts: Collection[str]) -> Response | None:
    """The answer to a request under another name than ours, or that another site had a browser send.

    `Sec-Fetch-Site` tells it, which no page can forge; of a browser that sends none, `Origin`. What is no browser sends
    neither. A device's token is sent by no browser by itself, so the interface for devices may be used from anywhere.
    """
    if _host(request.headers.get("host", "")) not in hosts:
        return PlainTextResponse(NOT_OURS, 400)
    if request.method in WITHOUT_BODY or request.url.path.startswith("/api/"):
        return None
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    same = site in ("same-origin", "none") if site else origin is None or _same_host(origin, request.headers["host"])
    return None if same else PlainTextResponse(FOREIGN, 403)


def _same_host(origin: str, host: str) -> bool:
    return origin.partition("://")[2] == host


def _host(header: str) -> str | None:
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


def refusal(request: Request, access: Access) -> Response | None:
    """The answer to a request whose body is not worth reading."""
    if request.method in WITHOUT_BODY:
        return None
    path, length = request.url.path, request.headers.get("content-length", "")
    if not length.isdecimal():
        return refuse(request, 411, "Say how long the body is: Content-Length.")
    largest = LARGEST_LOGIN if path == "/login" else LARGEST_STUDY
    if len(length) > MOST_DIGITS or int(length) > largest:
        return refuse(request, 413, f"A body must have at most {largest} bytes, got {length:.{MOST_DIGITS}}.")
    if path == "/login" or _known(request, path, access):
        return None
    if path.startswith("/api/"):
        message = "Send this device's token: Authorization: Bearer …"
        return refuse(request, 401, message, {"WWW-Authenticate": "Bearer"})
    if path.startswith("/link/"):
        return refuse(request, 404, LINK_IS_OVER)
    return RedirectResponse("/login", 303)


def _known(request: Request, path: str, access: Access) -> bool:
    if path.startswith("/api/"):
        return access.device(bearer(request.headers.get("authorization", ""))) is not None
    if path.startswith("/link/"):
        return access.link(path.removeprefix("/link/")) is not None
    return whoever(request) is not None


def bearer(authorization: str) -> str:
    """The token of an `Authorization` header, empty where it is of another kind."""
    scheme, _, token = authorization.partition(" ")
    return token if scheme.casefold() == "bearer" else ""
