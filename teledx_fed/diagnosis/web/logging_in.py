"""Log-in with a password or the hospital's OpenID Connect provider, log-out, and change of password."""

import hashlib
from math import ceil
from typing import Annotated

from fastapi import APIRouter, Depends, Form, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from teledx_fed.core.errors import ConfigurationError, TeledxError
from teledx_fed.diagnosis.web.limits import Busy, TooMany
from teledx_fed.diagnosis.web.oidc import Attempt, Provider, ProviderError
from teledx_fed.diagnosis.web.passwords import is_mark, new_mark
from teledx_fed.diagnosis.web.rendering import render
from teledx_fed.diagnosis.web.sessions import COOKIE, Authenticator, CheckedForm, Session

router = APIRouter(include_in_schema=False)

ATTEMPT_COOKIE = "teledx_fed_login"
ATTEMPT_SECONDS = 600
ATTEMPT_PATH = "/login/oidc"
MARK_COOKIE, MARK_PATH, MARK_SECONDS = "teledx_fed_known", "/login", 365 * 24 * 3600
"""Cookie of a browser after a log-in: guesses in other browsers do not use up its limit."""


def authenticator_of(request: Request) -> Authenticator:
    authenticator: Authenticator = request.app.state.authenticator
    return authenticator


def provider_of(request: Request) -> Provider:
    provider: Provider | None = request.app.state.provider
    if provider is None:
        raise HTTPException(404, "This page has no log-in with a provider. Log in with a password.")
    return provider


ConfiguredProvider = Annotated[Provider, Depends(provider_of)]


def address_of(request: Request) -> str:
    return request.client.host if request.client else ""


def _form(request: Request, refused: Exception | str = "", status: int = 200) -> HTMLResponse:
    provider: Provider | None = request.app.state.provider
    begin = provider.settings.begin if provider else ""
    response = render(request, "login", refused=str(refused), begin=begin, status=status)
    if isinstance(refused, TooMany):
        response.headers["Retry-After"] = str(ceil(refused.seconds))
    return response


def _remember(request: Request, response: Response, token: str) -> None:
    secure, age = request.url.scheme == "https", int(authenticator_of(request).lifetime.total_seconds())
    response.set_cookie(COOKIE, token, max_age=age, httponly=True, samesite="strict", secure=secure)


@router.get("/login", response_class=HTMLResponse)
def login_page(request: Request) -> HTMLResponse:
    return _form(request)


@router.post("/login")
def log_in(request: Request, name: Annotated[str, Form()], password: Annotated[str, Form()]) -> Response:
    cookie = _mark_cookie(name)
    mark = request.cookies.get(cookie, "")
    try:
        token, session = authenticator_of(request).log_in(name, password, address_of(request), mark)
    except Busy as error:
        return _form(request, error, 503)
    except TeledxError as error:
        return _form(request, error, 401)
    response = RedirectResponse("/", 303)
    _remember(request, response, token)
    _mark(request, response, cookie, mark, session.user.password or "")
    return response


def _mark_cookie(name: str) -> str:
    """Return the name of a user's mark cookie; users on a ward share browsers."""
    return f"{MARK_COOKIE}_{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:16]}"


def _mark(request: Request, response: Response, cookie: str, mark: str, password_hash: str) -> None:
    """Set the mark cookie; reuse a valid mark, because each new mark would have a limit of its own."""
    value = mark if is_mark(mark, password_hash) else new_mark(password_hash)
    secure = request.url.scheme == "https"
    response.set_cookie(cookie, value, MARK_SECONDS, path=MARK_PATH, httponly=True, samesite="strict", secure=secure)


@router.get("/login/oidc")
def begin_oidc(request: Request, provider: ConfiguredProvider) -> Response:
    """Redirect to the provider, with a cookie that the browser sends when it returns."""
    attempt, secure = Attempt(), request.url.scheme == "https"
    try:
        authenticator_of(request).limits.with_provider(address_of(request))
        response = RedirectResponse(provider.address(attempt), 303)
    except TeledxError as error:
        return _form(request, error, _status(error))
    response.set_cookie(
        ATTEMPT_COOKIE, attempt.cookie, ATTEMPT_SECONDS, path=ATTEMPT_PATH, httponly=True, samesite="lax", secure=secure
    )
    return response


@router.get("/login/oidc/callback")
def finish_oidc(request: Request, provider: ConfiguredProvider) -> Response:
    response = _admitted(request, provider)
    response.delete_cookie(ATTEMPT_COOKIE, path=ATTEMPT_PATH)
    return response


def _status(error: TeledxError) -> int:
    """Return the HTTP status of a failed log-in with the provider."""
    return 502 if isinstance(error, ProviderError) else 500 if isinstance(error, ConfigurationError) else 401


def _admitted(request: Request, provider: Provider) -> Response:
    """Log in and return a page that redirects: on a redirect from the provider, browsers send no strict cookie."""
    parameters = request.query_params
    try:
        authenticator_of(request).limits.with_provider(address_of(request))
        attempt = Attempt.read(request.cookies.get(ATTEMPT_COOKIE, ""), parameters.get("state", ""))
        token, _ = authenticator_of(request).admit_from_provider(provider.user(attempt, parameters))
    except TeledxError as error:
        return _form(request, error, _status(error))
    response = render(request, "logged_in")
    response.headers["Refresh"] = "0; url=/"
    _remember(request, response, token)
    return response


@router.get("/password", response_class=HTMLResponse)
def password_page(request: Request, session: Session) -> HTMLResponse:
    return render(request, "password", session, refused="")


@router.post("/password")
def change_password(
    request: Request, session: CheckedForm, old: Annotated[str, Form()], new: Annotated[str, Form()]
) -> Response:
    """Change the password, and end all sessions of this user."""
    try:
        authenticator_of(request).change_password(session, old, new)
    except TeledxError as error:
        return render(request, "password", session, refused=str(error), status=422)
    return RedirectResponse("/login", 303)


@router.post("/logout")
def log_out(request: Request, session: CheckedForm) -> Response:
    authenticator_of(request).access.log_out(request.cookies[COOKIE])
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE)
    return response
