"""Log-in with the hospital's OpenID Connect provider: authorization code flow with PKCE. No token is stored."""

import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from hmac import compare_digest
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, Self, TypeVar
from urllib.parse import quote_plus

import httpx
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from pydantic import BaseModel, ConfigDict

from teledx_fed.core.errors import ConfigurationError, RefusedError, UnavailableError
from teledx_fed.diagnosis.web.settings import OidcSettings, check_secure

log = logging.getLogger(__name__)

SIGNATURES = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512")
"""Algorithms with a private key of the provider: not `none`, and not HS256, whose secret this site also has."""
LEEWAY_SECONDS = 60
TIMEOUT_SECONDS = 5.0
AT_ONCE = 8
"""Log-ins that may wait for the provider at once, so that a slow provider does not block other requests."""
BASIC = "client_secret_basic"
"""How this site sends its secret, unless the provider supports only other methods."""


def _random() -> str:
    return secrets.token_urlsafe(32)


@dataclass(frozen=True)
class Attempt:
    """Secret values of one log-in with the provider; only that browser stores them, in a cookie."""

    state: str = field(default_factory=_random)
    nonce: str = field(default_factory=_random)
    verifier: str = field(default_factory=_random)

    @property
    def cookie(self) -> str:
        return ".".join(astuple(self))

    @classmethod
    def read(cls, cookie: str, state: str) -> Self:
        """Read the cookie; raise a `RefusedError` unless this browser began the log-in with `state`."""
        parts = cookie.split(".")
        if len(parts) != 3 or not all(parts) or not compare_digest(parts[0].encode(), state.encode()):
            raise RefusedError("this log-in did not begin in this browser, or it took too long. Begin again.")
        return cls(*parts)


class ProviderError(UnavailableError):
    """The provider cannot be reached, or its response is invalid."""


class ProviderResponse(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)  # errors go to the log, and the input contains tokens


class Discovery(ProviderResponse):
    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = (BASIC,)


class Tokens(ProviderResponse):
    id_token: str


class Keys(ProviderResponse):
    keys: list[dict[str, Any]]


Kind = TypeVar("Kind", bound=ProviderResponse)


def _parsed(response: httpx.Response, kind: type[Kind]) -> Kind:
    return kind.model_validate_json(response.raise_for_status().content)


@dataclass(frozen=True)
class Provider:
    settings: OidcSettings
    secret: str = field(repr=False)
    _places: BoundedSemaphore = field(default_factory=lambda: BoundedSemaphore(AT_ONCE), repr=False)

    @classmethod
    def of(cls, settings: OidcSettings) -> Self:
        file = Path(settings.client_secret_file)
        secret = file.read_text().strip() if file.is_file() else ""
        if not secret:
            raise ConfigurationError(
                f"oidc.client_secret_file must be a file with the secret, got {file}. Write it there."
            )
        return cls(settings, secret)

    def address(self, attempt: Attempt) -> str:
        """Return the provider's address at which the browser logs in."""
        with self._connection() as client:
            endpoint = self._discovery(client).authorization_endpoint
        parameters = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": self.settings.callback,
            "scope": "openid profile email",
            "state": attempt.state,
            "nonce": attempt.nonce,
            "code_challenge": create_s256_code_challenge(attempt.verifier),
            "code_challenge_method": "S256",
        }
        return str(httpx.URL(endpoint).copy_merge_params(parameters))

    def user(self, attempt: Attempt, parameters: Mapping[str, str]) -> str:
        """Return the user's name by the callback's parameters; raise a `RefusedError` without a valid ID token."""
        if not (code := parameters.get("code")):
            log.warning("%s logged nobody in: %.100r", self.settings.issuer, parameters.get("error"))
            raise RefusedError("the provider did not log you in. Try again, or ask an administrator.")
        with self._connection() as client:
            discovery = self._discovery(client)
            token = self._token(client, discovery, code, attempt.verifier)
            # fetched at each log-in, so that withdrawn keys are refused and new keys are accepted
            keys = KeySet.import_key_set({"keys": _parsed(client.get(discovery.jwks_uri), Keys).keys})
        try:
            return self._name(self._claims(token, keys, attempt.nonce))
        except (JoseError, RefusedError, ValueError) as error:
            log.warning("an ID token of %s was refused: %s", self.settings.issuer, error)
            raise RefusedError(
                "the page refused the provider's ID token for you. Ask an administrator: the log has the reason."
            ) from error

    @contextmanager
    def _connection(self) -> Iterator[httpx.Client]:
        """Open a connection to the provider; raise a `ProviderError` for a response that cannot be used."""
        if not self._places.acquire(blocking=False):
            raise ProviderError("too many people log in at the same time. Try again in a minute.")
        try:
            with httpx.Client(timeout=TIMEOUT_SECONDS) as client:
                yield client
        except ConfigurationError as error:
            log.error("the settings of the log-in with %s are wrong: %s", self.settings.issuer, error)
            raise
        except (httpx.HTTPError, httpx.InvalidURL, JoseError, ValueError) as error:
            log.warning("%s sent no valid response: %s", self.settings.issuer, error)
            raise ProviderError("the provider sent no valid response. Try again in a minute.") from error
        finally:
            self._places.release()

    def _discovery(self, client: httpx.Client) -> Discovery:
        discovery = _parsed(client.get(get_well_known_url(self.settings.issuer, external=True)), Discovery)
        if discovery.issuer != self.settings.issuer:
            raise ConfigurationError(
                f"the setting oidc.issuer must be {discovery.issuer!r}, as the provider names itself, got "
                f"{self.settings.issuer!r}. Ask an administrator to correct diagnosis.yaml."
            )
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
            check_secure(f"the provider's {name}", getattr(discovery, name))
        return discovery

    def _token(self, client: httpx.Client, discovery: Discovery, code: str, verifier: str) -> str:
        callback, id, secret = self.settings.callback, self.settings.client_id, self.secret
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": callback, "code_verifier": verifier}
        auth = httpx.Auth()
        if BASIC in discovery.token_endpoint_auth_methods_supported:
            auth = httpx.BasicAuth(quote_plus(id), quote_plus(secret))
        else:
            form |= {"client_id": id, "client_secret": secret}
        return _parsed(client.post(discovery.token_endpoint, data=form, auth=auth), Tokens).id_token

    def _claims(self, token: str, keys: KeySet, nonce: str) -> Mapping[str, Any]:
        issuer, client = self.settings.issuer, self.settings.client_id
        options = {"iss": {"essential": True, "value": issuer}, "aud": {"essential": True, "value": client}}
        decoded = jwt.decode(token, keys, SIGNATURES)
        claims: Any = CodeIDToken(decoded.claims, decoded.header, options, {"nonce": nonce, "client_id": client})
        claims.validate(leeway=LEEWAY_SECONDS)
        return claims

    def _name(self, claims: Mapping[str, Any]) -> str:
        name, claim = claims.get(self.settings.claim), self.settings.claim
        if not isinstance(name, str):
            raise RefusedError(
                f"the ID token must have {claim}, got none. Let the provider include it, or set oidc.claim."
            )
        if claim == "email" and claims.get("email_verified") is not True:
            raise RefusedError("the ID token must have email_verified, got none: anyone may have typed the address.")
        return name
