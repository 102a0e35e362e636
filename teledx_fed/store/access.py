"""Access control: users, sessions, devices and links. The database stores only the SHA-256 of a token."""

import hashlib
import secrets
from collections.abc import Callable
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import TypeVar
from uuid import uuid4

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from teledx_fed.core.errors import DataError, RefusedError
from teledx_fed.store.database import Database, insert_once
from teledx_fed.store.rows import existing
from teledx_fed.store.tables import DeviceRow, LinkRow, SessionRow, UserRow
from teledx_fed.store.values import Device, Link, LoggedIn, Role, User, check_text

TokenRow = TypeVar("TokenRow", SessionRow, DeviceRow)

LINK_ATTEMPTS = 10
"""Attempts of a link: more than one, so that the sender can retake poor photographs."""


def hashed(token: str) -> str:
    """Return the SHA-256 of a token: enough for 256 random bits, whereas a password needs a slow hash."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


class Access:
    """Users and sessions, devices, one-time links. An invalid token gives None, without the reason."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database, self._clock = database, clock

    def add_user(self, name: str, role: Role, password: str | None) -> User:
        """Add a user; `password` is a hash by the caller, None for log-in with the hospital's provider."""
        check_text("user.name", name)
        with self._database.writing() as session:
            if not insert_once(session, UserRow, name=name, role=role, password=password, disabled=False):
                raise DataError(f"user.name must be new, got {name!r}. Choose another.")
            return _user(_user_row(session, name))

    def user(self, name: str) -> User | None:
        with self._database.reading() as session:
            row = session.get(UserRow, name) if name.isprintable() else None
            return None if row is None else _user(row)

    def users(self) -> tuple[User, ...]:
        with self._database.reading() as session:
            return tuple(_user(row) for row in session.scalars(select(UserRow).order_by(UserRow.name)))

    def set_password(self, name: str, password: str) -> None:
        """Set the password (a hash) and end the user's sessions."""
        with self._database.writing() as session:
            _user_row(session, name).password = password
            _end_sessions(session, name)

    def set_role(self, name: str, role: Role) -> None:
        with self._database.writing() as session:
            _user_row(session, name).role = role

    def set_disabled(self, name: str, disabled: bool) -> None:
        """Disable or enable a user, and end the user's sessions."""
        with self._database.writing() as session:
            _user_row(session, name).disabled = disabled
            _end_sessions(session, name)

    def log_in(self, name: str, lifetime: timedelta) -> tuple[str, LoggedIn]:
        """Start a session; return its token and itself. Raise a `RefusedError` if the user is disabled."""
        token, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        with self._database.writing() as session:
            if (row := _user_row(session, name)).disabled:
                raise RefusedError(f"user must be enabled, got {name!r}, who is not. Ask an administrator.")
            expires = self._clock() + lifetime
            session.add(SessionRow(token=hashed(token), csrf=csrf, user=name, expires=expires))
            return token, LoggedIn(_user(row), csrf, expires)

    def logged_in(self, token: str) -> LoggedIn | None:
        with self._database.reading() as session:
            row = _with_token(session, SessionRow, token)
            if row is None or row.expires <= self._clock() or (user := _user_row(session, row.user)).disabled:
                return None
            return LoggedIn(_user(user), row.csrf, row.expires)

    def log_out(self, token: str) -> None:
        with self._database.writing() as session:
            session.execute(delete(SessionRow).where(SessionRow.token == hashed(token)))

    def add_device(self, name: str) -> str:
        """Add a device; return its token, for submissions and their status."""
        check_text("device.name", name)
        token, time = secrets.token_urlsafe(32), self._clock()
        with self._database.writing() as session:
            if not insert_once(session, DeviceRow, name=name, token=hashed(token), created=time):
                raise DataError(f"device.name must be new, got {name!r}. Choose another.")
        return token

    def device(self, token: str) -> Device | None:
        with self._database.reading() as session:
            row = _with_token(session, DeviceRow, token)
            return None if row is None or row.revoked is not None else _device(row)

    def devices(self) -> tuple[Device, ...]:
        """Return all devices, including revoked ones."""
        with self._database.reading() as session:
            return tuple(_device(row) for row in session.scalars(select(DeviceRow).order_by(DeviceRow.name)))

    def revoke_device(self, name: str) -> None:
        with self._database.writing() as session:
            row = existing(session, DeviceRow, "device", name)
            row.revoked = row.revoked or self._clock()

    def add_link(self, label: str, lifetime: timedelta, patient: str | None = None) -> tuple[str, Link]:
        """Add a one-time link; return its token and itself. `Store.add_study` uses it up."""
        check_text("link.label", label)
        if patient is not None:
            check_text("link.patient", patient)
        token, expires = secrets.token_urlsafe(32), self._clock() + lifetime
        link = Link(uuid4().hex, label, patient, expires, LINK_ATTEMPTS)
        with self._database.writing() as session:
            session.add(
                LinkRow(id=link.id, token=hashed(token), label=label, patient=patient, expires=link.expires, used=None)
            )
        return token, link

    def link(self, token: str) -> Link | None:
        """Return a link that is neither used nor expired; its `left` may be 0."""
        with self._database.reading() as session:
            row = session.scalars(select(LinkRow).where(*self._open(), LinkRow.token == hashed(token))).one_or_none()
            return None if row is None else _link(row)

    def try_link(self, token: str) -> Link | None:
        """Count an attempt and return the link, if it is usable; the attempt counts even if it fails."""
        tried = update(LinkRow).where(*self._open(), LinkRow.attempts < LINK_ATTEMPTS, LinkRow.token == hashed(token))
        with self._database.writing() as session:
            row = session.scalars(tried.values(attempts=LinkRow.attempts + 1).returning(LinkRow)).one_or_none()
            return None if row is None else _link(row)

    def links(self) -> tuple[Link, ...]:
        """Return the usable links, by expiry."""
        with self._database.reading() as session:
            usable = select(LinkRow).where(*self._open(), LinkRow.attempts < LINK_ATTEMPTS)
            return tuple(_link(row) for row in session.scalars(usable.order_by(LinkRow.expires)))

    def revoke_link(self, id: str) -> None:
        with self._database.writing() as session:
            existing(session, LinkRow, "link", id).expires = self._clock()

    def _open(self) -> tuple[ColumnElement[bool], ...]:
        return LinkRow.used.is_(None), LinkRow.expires > self._clock()


def _with_token(session: Session, table: type[TokenRow], token: str) -> TokenRow | None:
    row = session.scalars(select(table).where(table.token == hashed(token))).one_or_none()
    return row if row is not None and compare_digest(row.token, hashed(token)) else None


def _user_row(session: Session, name: str) -> UserRow:
    return existing(session, UserRow, "user", name)


def _end_sessions(session: Session, name: str) -> None:
    session.execute(delete(SessionRow).where(SessionRow.user == name))


def _user(row: UserRow) -> User:
    return User(row.name, row.role, row.password, row.disabled)


def _device(row: DeviceRow) -> Device:
    return Device(row.name, row.created, row.revoked)


def _link(row: LinkRow) -> Link:
    return Link(row.id, row.label, row.patient, row.expires, LINK_ATTEMPTS - row.attempts)
