"""Refuse requests before their body is read: frameworks write a body to disk before they check its sender."""

import logging
from collections.abc import Collection
from pathlib import Path
from shutil import disk_usage
from tempfile import gettempdir
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.responses import PlainTextResponse, RedirectResponse

from teledx_fed.diagnosis.intake import LARGEST_MIB, MOST_IMAGES
from teledx_fed.diagnosis.web.refusals import refuse
from teledx_fed.diagnosis.web.sessions import current_user
from teledx_fed.store.access import Access
from teledx_fed.store.values import Link

log = logging.getLogger(__name__)

MIB = 2**20
LARGEST_STUDY = MOST_IMAGES * LARGEST_MIB * MIB
LARGEST_OF_LINK = 2 * LARGEST_MIB * MIB + MIB
LARGEST_FORM = MIB
LARGEST_LOGIN = 16 * 2**10
LINK_NOT_USABLE = "This link was used, was tried too often, or has expired. Ask for another."
MOST_DIGITS = 20
"""Longest Content-Length, in digits."""
SAFE = ("GET", "HEAD", "OPTIONS")
WITHOUT_BODY = (*SAFE, "DELETE")


NOT_OURS = "Host must be a name of this page. Add the name to allowed_hosts in diagnosis.yaml.\n"
FOREIGN = "This form was sent from another site. Load the page again, and send it from there.\n"


def misdirected(request: Request, hosts: Collection[str]) -> Response | None:
    """Return the refusal of a request for another host name, or of a form from another site, or None.

    Another site shows in `Sec-Fetch-Site`, which a page cannot forge, or in `Origin` if a browser sends no such header.
    Programs other than browsers send neither. The API for devices accepts requests from any site, because a browser
    does not add a device's token by itself.
    """
    if _host(request.headers.get("host", "")) not in hosts:
        return PlainTextResponse(NOT_OURS, 400)
    if request.method in SAFE or request.url.path.startswith("/api/"):
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


def unauthorized(request: Request, access: Access) -> Response | None:
    """Return the refusal of a request whose body must not be read, or None."""
    if request.method in WITHOUT_BODY:
        return None
    path, length = request.url.path, request.headers.get("content-length", "")
    if not length.isdecimal():
        return refuse(request, 411, "State the length of the body: Content-Length.")
    largest = _largest(path)
    if len(length) > MOST_DIGITS or int(length) > largest:
        return refuse(request, 413, f"A body must have at most {largest} bytes, got {length:.{MOST_DIGITS}}.")
    if path == "/login" or _is_authorized(request, path, access):
        return None
    if path.startswith("/api/"):
        message = "Send this device's token: Authorization: Bearer …"
        return refuse(request, 401, message, {"WWW-Authenticate": "Bearer"})
    if path.startswith("/link/"):
        return refuse(request, 404, LINK_NOT_USABLE)
    return RedirectResponse("/login", 303)


def disk_full(request: Request, folder: Path, free_mib: int) -> Response | None:
    """Return the refusal of a body that would leave less than `free_mib` on a disk for spooling or storage."""
    length = 0 if request.method in WITHOUT_BODY else int(request.headers["content-length"])
    if length <= LARGEST_FORM:
        return None
    free = min(disk_usage(place).free for place in (folder, gettempdir()))
    if free - length >= free_mib * MIB:
        return None
    log.error("photographs are refused: %d MiB of the disk are free. Make room, or lower free_disk_mib.", free // MIB)
    return refuse(request, 507, "The disk of this site is full. Tell the site, and try again later.")


def _largest(path: str) -> int:
    if path == "/login":
        return LARGEST_LOGIN
    if path.startswith("/link/"):
        return LARGEST_OF_LINK
    return LARGEST_STUDY if path == "/upload" or path.startswith("/api/") else LARGEST_FORM


def _is_authorized(request: Request, path: str, access: Access) -> bool:
    if path.startswith("/api/"):
        return access.device(bearer(request.headers.get("authorization", ""))) is not None
    if path.startswith("/link/"):
        link = access.link(_token(path))
        return link is not None and link.left > 0
    return current_user(request) is not None


def used_up(request: Request, access: Access) -> Response | None:
    """Return the refusal if a link's attempts are used up; else count this attempt."""
    if request.method in WITHOUT_BODY or not request.url.path.startswith("/link/"):
        return None
    request.state.link = access.try_link(_token(request.url.path))
    return None if request.state.link else refuse(request, 404, LINK_NOT_USABLE)


def _token(path: str) -> str:
    return path.removeprefix("/link/")


def tried_link(request: Request) -> Link:
    """Return the link whose attempt this request is."""
    link: Link = request.state.link
    return link


def bearer(authorization: str) -> str:
    """Return the bearer token of an `Authorization` header; empty for another scheme."""
    scheme, _, token = authorization.partition(" ")
    return token if scheme.casefold() == "bearer" else ""
