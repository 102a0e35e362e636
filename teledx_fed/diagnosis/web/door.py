"""Before a body is read: who sends it, and how much. Frameworks spool a body to disk before they ask who sent it."""

from fastapi import Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from teledx_fed.diagnosis.intake import LARGEST_MIB, MOST_IMAGES
from teledx_fed.diagnosis.web.sessions import COOKIE
from teledx_fed.store.access import Access

LARGEST_STUDY = MOST_IMAGES * LARGEST_MIB * 2**20
LARGEST_LOGIN = 16 * 2**10
LINK_IS_OVER = "This link was used, or its time is over. Ask for another."
WITHOUT_BODY = ("GET", "HEAD", "OPTIONS")


def refusal(request: Request, access: Access) -> Response | None:
    """The answer to a request whose body is not worth reading."""
    if request.method in WITHOUT_BODY:
        return None
    path, length = request.url.path, request.headers.get("content-length", "")
    if not length.isdecimal():
        return JSONResponse({"detail": "Say how long the body is: Content-Length."}, 411)
    largest = LARGEST_LOGIN if path == "/login" else LARGEST_STUDY
    if int(length) > largest:
        return JSONResponse({"detail": f"A body must have at most {largest} bytes, got {length}."}, 413)
    if path == "/login" or _known(request, path, access):
        return None
    if path.startswith("/api/"):
        message = "Send this device's token: Authorization: Bearer …"
        return JSONResponse({"detail": message}, 401, {"WWW-Authenticate": "Bearer"})
    if path.startswith("/link/"):
        return JSONResponse({"detail": LINK_IS_OVER}, 404)
    return RedirectResponse("/login", 303)


def _known(request: Request, path: str, access: Access) -> bool:
    if path.startswith("/api/"):
        return access.device(bearer(request.headers.get("authorization", ""))) is not None
    if path.startswith("/link/"):
        return access.link(path.removeprefix("/link/")) is not None
    return access.logged_in(request.cookies.get(COOKIE, "")) is not None


def bearer(authorization: str) -> str:
    """The token of an `Authorization` header, empty where it is of another kind."""
    scheme, _, token = authorization.partition(" ")
    return token if scheme.casefold() == "bearer" else ""
