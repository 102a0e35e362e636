"""Administration pages: users, devices and links."""

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from teledx_fed.core.checks import must, within
from teledx_fed.core.errors import DataError
from teledx_fed.diagnosis.web.passwords import hashed_password
from teledx_fed.diagnosis.web.rendering import clinic_of, render
from teledx_fed.diagnosis.web.sessions import Administrator, csrf_checked
from teledx_fed.store.access import Access
from teledx_fed.store.values import LoggedIn, Role

HERE = "/administration"
LONGEST_LINK_HOURS = 24 * 90

router = APIRouter(prefix=HERE, include_in_schema=False)
checked = [Depends(csrf_checked)]

Text = Annotated[str, Form(max_length=200)]


@router.get("", response_class=HTMLResponse)
def administration(request: Request, session: Administrator) -> HTMLResponse:
    return _page(request, session)


@router.post("/users", dependencies=checked)
def add_user(
    request: Request, session: Administrator, name: Text, role: Annotated[Role, Form()], password: Text = ""
) -> Response:
    """Add a user; without a password, the user logs in with the hospital's provider."""
    by_provider = not password and request.app.state.provider is not None
    _access(request).add_user(name, role, None if by_provider else hashed_password(password))
    return _done()


@router.post("/users/role", dependencies=checked)
def change_role(request: Request, session: Administrator, name: Text, role: Annotated[Role, Form()]) -> Response:
    _refuse_own_account(session, name)
    _access(request).set_role(name, role)
    return _done()


@router.post("/users/password", dependencies=checked)
def change_password(request: Request, session: Administrator, name: Text, password: Text) -> Response:
    _access(request).set_password(name, hashed_password(password))
    return _done()


@router.post("/users/disabled", dependencies=checked)
def disable(request: Request, session: Administrator, name: Text, disabled: Annotated[bool, Form()]) -> Response:
    _refuse_own_account(session, name)
    _access(request).set_disabled(name, disabled)
    return _done()


@router.post("/devices", dependencies=checked)
def add_device(request: Request, session: Administrator, name: Text) -> HTMLResponse:
    """Add a device and show its token, once."""
    token = _access(request).add_device(name)
    return _page(request, session, f"The token of {name}", token)


@router.post("/devices/revoked", dependencies=checked)
def revoke_device(request: Request, session: Administrator, name: Text) -> Response:
    _access(request).revoke_device(name)
    return _done()


@router.post("/links", dependencies=checked)
def add_link(
    request: Request, session: Administrator, label: Text, hours: Annotated[float, Form()], patient: Text = ""
) -> HTMLResponse:
    """Add a link and show its address, once."""
    within("hours", hours, 0.1, LONGEST_LINK_HOURS, DataError)
    token = clinic_of(request).link(label, timedelta(hours=hours), patient or None)
    return _page(request, session, f"The link for {label}", f"{request.base_url}link/{token}")


@router.post("/links/revoked", dependencies=checked)
def revoke_link(request: Request, session: Administrator, link: Text) -> Response:
    _access(request).revoke_link(link)
    return _done()


def _access(request: Request) -> Access:
    return clinic_of(request).store.access


def _refuse_own_account(session: LoggedIn, name: str) -> None:
    """Refuse changes of the user's own account, so that an administrator remains."""
    must(name != session.user.name, "name", "be another than yours", name, "Ask another administrator.", DataError)


def _done() -> Response:
    return RedirectResponse(HERE, 303)


def _page(request: Request, session: LoggedIn, secret_label: str = "", secret: str = "") -> HTMLResponse:
    access = _access(request)
    return render(
        request,
        "administration",
        session,
        secret_label=secret_label,
        secret=secret,
        users=access.users(),
        devices=access.devices(),
        links=access.links(),
        roles=tuple(Role),
        has_provider=request.app.state.provider is not None,
    )
