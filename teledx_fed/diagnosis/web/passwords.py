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
"""The guide contains this password, so only a demonstration accepts it."""

_hasher = PasswordHasher()
_unknown_browsers, _known_browsers = Places(2, waiting=8), Places(1, waiting=4)
"""Browsers with a mark and sessions have a separate queue, which people who guess passwords cannot fill."""
NOBODY = _hasher.hash(secrets.token_urlsafe())
"""Hash to check for an unknown user, so that the response takes as long as for a known one."""


def hashed_password(password: str) -> str:
    """Return the hash; raise a `DataError` for a short password or the demonstration's."""
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
    with _known_browsers.place():
        return _hasher.hash(password)


def hashed_demonstration_password() -> str:
    return _hasher.hash(DEMONSTRATION_PASSWORD)


def matches(password_hash: str, password: str, known: bool) -> bool:
    """Check a password; `known`: in a marked browser or a session of the user. Raise `Busy` if the queue is full."""
    with (_known_browsers if known else _unknown_browsers).place():
        try:
            return _hasher.verify(password_hash, password)
        except (Argon2Error, InvalidHashError):
            return False


def new_mark(password_hash: str) -> str:
    """Return a mark for the browser of a user. It gives no access, and a new password makes it invalid."""
    nonce = secrets.token_urlsafe(16)
    return f"{nonce}.{_sealed(nonce, password_hash)}"


def is_mark(mark: str, password_hash: str) -> bool:
    nonce, _, seal = mark.partition(".")
    return hmac.compare_digest(seal.encode(), _sealed(nonce, password_hash).encode())


def _sealed(nonce: str, password_hash: str) -> str:
    """Return the HMAC of a nonce; the key is the hash, whose random salt (16 bytes) only the database has."""
    return hmac.new(password_hash.encode(), nonce.encode(), hashlib.sha256).hexdigest()
