"""A log-in with the provider, from when it is begun until the browser comes back: what only that browser knows."""

import secrets
from dataclasses import astuple, dataclass, field
from hmac import compare_digest
from typing import Self

from teledx_fed.core.errors import RefusedError


def _random() -> str:
    return secrets.token_urlsafe(32)


@dataclass(frozen=True)
class Attempt:
    state: str = field(default_factory=_random)
    nonce: str = field(default_factory=_random)
    verifier: str = field(default_factory=_random)

    @property
    def cookie(self) -> str:
        return ".".join(astuple(self))

    @classmethod
    def read(cls, cookie: str, state: str) -> Self:
        """A `ValueError` where the browser that comes back with `state` did not begin with it."""
        parts = cookie.split(".")
        if len(parts) != 3 or not all(parts) or not compare_digest(parts[0].encode(), state.encode()):
            raise RefusedError("this log-in was not begun in this browser, or its time is over. Begin again.")
        return cls(*parts)
