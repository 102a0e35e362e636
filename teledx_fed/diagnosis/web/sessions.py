"""Sessions of users, and protection of forms against cross-site requests."""

import hmac
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Form, HTTPException, Request

from teledx_fed.core.errors import RefusedError
from teledx_fed.diagnosis.web.limits import LogInLimits
from teledx_fed.diagnosis.web.passwords import (
    DEMONSTRATION_PASSWORD,
    DEMONSTRATION_USER,
    NOBODY,
    hashed_password,
    is_mark,
    matches,
)
from teledx_fed.store.access import Access
from teledx_fed.store.values import LoggedIn, Role

COOKIE = "teledx_fed_session"
WRONG = "name or password is wrong. Try again, or ask an administrator."


@dataclass(frozen=True)
class Authenticator:
    access: Access
    lifetime: timedelta
    demonstration: bool = False
    limits: LogInLimits = field(default_factory=LogInLimits)

    def log_in(self, name: str, password: str, address: str, mark: str = "") -> tuple[str, LoggedIn]:
        """Return a token and its session. A `RefusedError` does not state which of name and password is wrong.

        `mark` is the browser's mark from `new_mark`, if this user logged in there before.
        """
        user = self.access.user(name)
        stored = user.password if user and user.password else NOBODY
        is_known = is_mark(mark, stored)
        with self.limits.log_in(name, address, mark if is_known else ""):
            right = matches(stored, password, is_known) and (self.demonstration or password != DEMONSTRATION_PASSWORD)
            if not (user and user.password and right and not user.disabled):
                raise RefusedError(WRONG)
        return self.access.log_in(name, self.lifetime)

    def change_password(self, session: LoggedIn, old: str, new: str) -> None:
        """Set a password and end the user's sessions; raise a `RefusedError` if the old one is wrong or missing."""
        with self.limits.in_session(session.csrf):
            if not (session.user.password and matches(session.user.password, old, known=True)):
                raise RefusedError(WRONG)
        self.access.set_password(session.user.name, hashed_password(new))

    def admit_from_provider(self, name: str) -> tuple[str, LoggedIn]:
        """Log in a user whom the provider names.

        A user with a password must use it: the provider's user of the same name may be another person.
        """
        user = self.access.user(name)
        if user is None or user.password or user.disabled:
            raise RefusedError(f"no user who logs in with the provider is named {name!r}. Ask an administrator.")
        return self.access.log_in(name, self.lifetime)


def has_demonstration_user(access: Access) -> bool:
    """Return whether the demonstration's user can log in with the password from the guide."""
    user = access.user(DEMONSTRATION_USER)
    return bool(
        user and not user.disabled and user.password and matches(user.password, DEMONSTRATION_PASSWORD, known=True)
    )


def current_user(request: Request) -> LoggedIn | None:
    authenticator: Authenticator = request.app.state.authenticator
    return authenticator.access.logged_in(request.cookies.get(COOKIE, ""))


def session(request: Request) -> LoggedIn:
    """Return the session of the request; without one, redirect to the log-in page."""
    user = current_user(request)
    if user is None:
        raise HTTPException(303, headers={"Location": "/login"})
    return user


Session = Annotated[LoggedIn, Depends(session)]


def csrf_checked(session: Session, csrf: Annotated[str, Form()] = "") -> LoggedIn:
    """Return the session if the form is from a page for this session; else respond 403."""
    if not hmac.compare_digest(csrf.encode(), session.csrf.encode()):
        raise HTTPException(403, "This form is not from your session. Load the page again.")
    return session


CheckedForm = Annotated[LoggedIn, Depends(csrf_checked)]


def administrator(session: Session) -> LoggedIn:
    if session.user.role is not Role.ADMIN:
        raise HTTPException(403, "Only an administrator may do this.")
    return session


Administrator = Annotated[LoggedIn, Depends(administrator)]
