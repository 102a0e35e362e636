"""Who is at the page: sessions, and forms that only our own page can send."""

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
class Doorkeeper:
    access: Access
    lifetime: timedelta
    demonstration: bool = False
    limits: LogInLimits = field(default_factory=LogInLimits)

    def log_in(self, name: str, password: str, address: str, mark: str = "") -> tuple[str, LoggedIn]:
        """A token and its session. A `ValueError` says neither whether the name nor whether the password is wrong.

        `mark`: what `new_mark` left in the browser when this user logged in there.
        """
        user = self.access.user(name)
        stored = user.password if user and user.password else NOBODY
        known = is_mark(mark, stored)
        with self.limits.log_in(name, address, mark if known else ""):
            right = matches(stored, password, known) and (self.demonstration or password != DEMONSTRATION_PASSWORD)
            if not (user and user.password and right and not user.disabled):
                raise RefusedError(WRONG)
        return self.access.log_in(name, self.lifetime)

    def change_password(self, found: LoggedIn, old: str, new: str) -> None:
        """Ends all their sessions. A `ValueError` where the old one is wrong, or there is none."""
        with self.limits.in_session(found.csrf):
            if not (found.user.password and matches(found.user.password, old, known=True)):
                raise RefusedError(WRONG)
        self.access.set_password(found.user.name, hashed_password(new))

    def admit(self, name: str) -> tuple[str, LoggedIn]:
        """Whom the provider vouches for. Who has a password logs in with it: a provider's namesake is a stranger."""
        user = self.access.user(name)
        if user is None or user.password or user.disabled:
            raise RefusedError(f"nobody who logs in this way is called {name!r}. Ask an administrator.")
        return self.access.log_in(name, self.lifetime)


def has_demonstration_user(access: Access) -> bool:
    """Who can log in with the password that the guide prints."""
    user = access.user(DEMONSTRATION_USER)
    return bool(
        user and not user.disabled and user.password and matches(user.password, DEMONSTRATION_PASSWORD, known=True)
    )


def whoever(request: Request) -> LoggedIn | None:
    keeper: Doorkeeper = request.app.state.doorkeeper
    return keeper.access.logged_in(request.cookies.get(COOKIE, ""))


def session(request: Request) -> LoggedIn:
    """Of whoever asks; else they are sent to log in."""
    found = whoever(request)
    if found is None:
        raise HTTPException(303, headers={"Location": "/login"})
    return found


Session = Annotated[LoggedIn, Depends(session)]


def own_form(found: Session, csrf: Annotated[str, Form()] = "") -> LoggedIn:
    """Of whoever sends a form that our page made for them."""
    if not hmac.compare_digest(csrf.encode(), found.csrf.encode()):
        raise HTTPException(403, "This form is not from your session. Load the page again.")
    return found


OwnForm = Annotated[LoggedIn, Depends(own_form)]


def administrator(found: Session) -> LoggedIn:
    if found.user.role is not Role.ADMIN:
        raise HTTPException(403, "Only an administrator may do this.")
    return found


Administrator = Annotated[LoggedIn, Depends(administrator)]
