"""Passwords and their hashes, of which few are computed at a time: each takes 64 MiB and a processor's time."""

import hashlib
import hmac
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from teledx_fed.checks import must
from teledx_fed.diagnosis.web.limits import Places

SHORTEST_PASSWORD = 12
DEMONSTRATION_USER, DEMONSTRATION_PASSWORD = "demo", "demonstration"
"""Printed in the guide, so good for a demonstration alone."""

_hasher = PasswordHasher()
_strangers, _known = Places(2, waiting=8), Places(1, waiting=4)
"""People who are known here don't queue with those who may be guessing."""
NOBODY = _hasher.hash(secrets.token_urlsafe())
"""Checked where there is no such user, so that both answers take as long."""


def hashed_password(password: str) -> str:
    """A `ValueError` for a password that is too short, or that everybody knows."""
    must(
        len(password) >= SHORTEST_PASSWORD,
        "password",
        f"have at least {SHORTEST_PASSWORD} characters",
        len(password),
        "Take a sentence.",
    )
    must(password != DEMONSTRATION_PASSWORD, "password", "be secret", "the demonstration's", "Take a sentence.")
    with _known.place():
        return _hasher.hash(password)


def hashed_demonstration_password() -> str:
    return _hasher.hash(DEMONSTRATION_PASSWORD)


def matches(password_hash: str, password: str, known: bool) -> bool:
    """`known`: asked by a browser or a session of this user. `Busy` where too many ask."""
    with (_known if known else _strangers).place():
        try:
            return _hasher.verify(password_hash, password)
        except (Argon2Error, InvalidHashError):
            return False


def new_mark(password_hash: str) -> str:
    """What a browser keeps that logged in: it opens nothing, and a new password voids it."""
    nonce = secrets.token_urlsafe(16)
    return f"{nonce}.{_sealed(nonce, password_hash)}"


def is_mark(mark: str, password_hash: str) -> bool:
    nonce, _, seal = mark.partition(".")
    return hmac.compare_digest(seal.encode(), _sealed(nonce, password_hash).encode())


def _sealed(nonce: str, password_hash: str) -> str:
    """The hash, with its 16 random bytes of salt, is a key that nobody outside the database has."""
    return hmac.new(password_hash.encode(), nonce.encode(), hashlib.sha256).hexdigest()
