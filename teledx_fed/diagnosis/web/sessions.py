"""Who is at the page: passwords, sessions, forms that only our own page can send."""

import hmac
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from time import monotonic
from typing import Annotated

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from fastapi import Depends, Form, HTTPException, Request

from teledx_fed.checks import must
from teledx_fed.store.access import Access
from teledx_fed.store.values import LoggedIn, Role

COOKIE = "teledx_fed_session"
SHORTEST_PASSWORD = 12
FAILURES, WINDOW_SECONDS = 5, 900.0
"""As many wrong passwords for a name, or from an address, before both wait."""
MOST_REMEMBERED = 10_000

_hasher = PasswordHasher()
_NOBODY = _hasher.hash("nobody's")
"""Checked where no such user is, so that both take as long."""


def hashed_password(password: str) -> str:
    must(
        len(password) >= SHORTEST_PASSWORD,
        "password",
        f"have at least {SHORTEST_PASSWORD} characters",
        len(password),
        "Take a sentence.",
    )
    return _hasher.hash(password)


@dataclass
class Failures:
    """Wrong passwords of late, by whom."""

    clock: Callable[[], float] = monotonic
    _times: dict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))

    def too_many(self, *keys: str) -> bool:
        return any(len(self._recent(key)) >= FAILURES for key in keys)

    def count(self, *keys: str) -> None:
        for key in keys:
            self._recent(key).append(self.clock())
        if len(self._times) > MOST_REMEMBERED:
            self._times = defaultdict(deque, {key: self._times[key] for key in [*self._times] if self._recent(key)})

    def _recent(self, key: str) -> deque[float]:
        times = self._times[key]
        while times and times[0] < self.clock() - WINDOW_SECONDS:
            times.popleft()
        return times


@dataclass(frozen=True)
class Doorkeeper:
    access: Access
    lifetime: timedelta
    failures: Failures = field(default_factory=Failures)

    def log_in(self, name: str, password: str, address: str) -> tuple[str, LoggedIn]:
        """A token and its session. A `ValueError` says neither whether the name nor whether the password is wrong."""
        if self.failures.too_many(f"name {name}", f"address {address}"):
            raise ValueError("too many wrong passwords. Wait a quarter of an hour.")
        user = self.access.user(name)
        right = _matches(user.password if user and user.password else _NOBODY, password)
        if not (user and user.password and right and not user.disabled):
            self.failures.count(f"name {name}", f"address {address}")
            raise ValueError("name or password is wrong. Try again, or ask an administrator.")
        return self.access.log_in(name, self.lifetime)

    def change_password(self, found: LoggedIn, old: str, new: str, address: str) -> None:
        """Ends all their sessions. A `ValueError` where the old one is wrong, or there is none."""
        self.log_in(found.user.name, old, address)
        self.access.set_password(found.user.name, hashed_password(new))

    def admit(self, name: str) -> tuple[str, LoggedIn]:
        """Whom the provider vouches for. Who has a password logs in with it: a provider's namesake is a stranger."""
        user = self.access.user(name)
        if user is None or user.password or user.disabled:
            raise ValueError(f"nobody who logs in this way is called {name!r}. Ask an administrator.")
        return self.access.log_in(name, self.lifetime)


def _matches(password_hash: str, password: str) -> bool:
    try:
        return _hasher.verify(password_hash, password)
    except (Argon2Error, InvalidHashError):
        return False


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
