"""Passwords and their hashes. Only a few hashes are computed at a time, because each takes 64 MiB and CPU time."""

import hashlib
import hmac
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from teledx_fed.core.checks import must
from teledx_fed.core.errors import DataError
from teledx_fed.diagnosis.web.limits import Places

SHORTEST_PASSWORD = 12
DEMONSTRATION_USER, DEMONSTRATION_PASSWORD = "demo", "demonstration"
"""Printed in the guide, so good for a demonstration alone."""

_hasher = PasswordHasher()
_strangers, _known = Places(2, waiting=8), Places(1, waiting=4)
"""Known users have a queue of their own, so that people who guess passwords cannot delay them."""
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
        DataError,
    )
    must(
        password != DEMONSTRATION_PASSWORD,
        "password",
        "be secret",
        "the demonstration's",
        "Take a sentence.",
        DataError,
    )
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
    """Make the cookie of a browser that logged in. It gives no access, and a new password makes it invalid."""
    nonce = secrets.token_urlsafe(16)
    return f"{nonce}.{_sealed(nonce, password_hash)}"


def is_mark(mark: str, password_hash: str) -> bool:
    nonce, _, seal = mark.partition(".")
    return hmac.compare_digest(seal.encode(), _sealed(nonce, password_hash).encode())


def _sealed(nonce: str, password_hash: str) -> str:
    """The hash, with its 16 random bytes of salt, is a key that nobody outside the database has."""
    return hmac.new(password_hash.encode(), nonce.encode(), hashlib.sha256).hexdigest()
