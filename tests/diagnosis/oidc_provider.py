"""An OpenID Connect provider over HTTP for tests: it checks the protocol, and can send invalid tokens."""

import base64
import hashlib
import json
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qsl, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey

CLIENT, SECRET = "diagnosis page", "s3cret: with/odd+signs"


def new_key(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid, "use": "sig"}, private=True)


@dataclass
class LocalProvider:
    """A provider. `claims` replace those of a valid token; `sign` replaces the signature; `error` replaces the code.

    With `asks`, the user must confirm on the provider's page.
    """

    key: RSAKey
    claims: dict[str, object] = field(default_factory=lambda: {"preferred_username": "anna"})
    sign: Callable[[dict[str, object]], object] | None = None
    error: str | None = None
    asks: bool = False
    discovered: dict[str, object] = field(default_factory=dict)
    published: list[dict[str, object]] = field(default_factory=list)
    issuer: str = ""
    told: list[str] = field(default_factory=list)
    _codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def discovery(self) -> dict[str, object]:
        ends = {"authorization_endpoint": "authorize?tenant=1", "token_endpoint": "token", "jwks_uri": "keys"}
        return {
            "issuer": self.issuer,
            **{name: f"{self.issuer}/{end}" for name, end in ends.items()},
            **self.discovered,
        }

    def keys(self) -> dict[str, object]:
        public = KeySet([self.key]).as_dict(private=False)
        return {"keys": [*public["keys"], *self.published]}

    def authorize(self, request: dict[str, str]) -> str:
        """Return the callback address for the browser."""
        assert (request["response_type"], request["client_id"], request["tenant"]) == ("code", CLIENT, "1")
        assert request["code_challenge_method"] == "S256"
        assert "openid" in request["scope"].split()
        code = secrets.token_urlsafe()
        self._codes[code] = request
        answer = {"error": self.error} if self.error else {"code": code}
        return f"{request['redirect_uri']}?{urlencode({**answer, 'state': request['state']})}"

    def token(self, form: dict[str, str], basic: str) -> dict[str, object] | None:
        """Return tokens, or None for a wrong secret, verifier or callback, or a used code."""
        request = self._codes.pop(form["code"], {})
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        proven = request.get("code_challenge") == challenge and request["redirect_uri"] == form["redirect_uri"]
        if not (proven and self._is_client(form, basic)):
            return None
        token = self._id_token(request["nonce"])
        self.told += [str(token), form["code"], form["code_verifier"]]
        return {"id_token": token, "access_token": "opens-nothing", "token_type": "Bearer"}

    def _is_client(self, form: dict[str, str], basic: str) -> bool:
        if self.discovered.get("token_endpoint_auth_methods_supported") == ["client_secret_post"]:
            return not basic and (form["client_id"], form["client_secret"]) == (CLIENT, SECRET)
        name, _, secret = base64.b64decode(basic.removeprefix("Basic ")).decode().partition(":")
        return (name, secret) == tuple(urlencode({"": part})[1:] for part in (CLIENT, SECRET))

    def _id_token(self, nonce: str) -> object:
        now = int(time.time())
        honest = {"iss": self.issuer, "sub": "1", "aud": CLIENT, "iat": now, "exp": now + 60, "nonce": nonce}
        claims = {name: value for name, value in {**honest, **self.claims}.items() if value is not None}
        return self.sign(claims) if self.sign else jwt.encode({"alg": "RS256", "kid": self.key.kid}, claims, self.key)


@contextmanager
def served(provider: LocalProvider) -> Iterator[LocalProvider]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == "/authorize":
                back = provider.authorize(dict(parse_qsl(url.query)))
                if provider.asks:
                    self._answer(200, f'<a href="{escape(back)}">It is me</a>', kind="text/html")
                else:
                    self._answer(302, "", back)
            else:
                pages = {"/.well-known/openid-configuration": provider.discovery, "/keys": provider.keys}
                self._answer(200, pages[url.path]())

        def do_POST(self) -> None:
            form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
            answer = provider.token(form, self.headers.get("Authorization", ""))
            self._answer(400 if answer is None else 200, answer or {"error": "invalid_grant"})

        def _answer(self, status: int, content: object, location: str = "", kind: str = "application/json") -> None:
            body = (content if isinstance(content, str) else json.dumps(content)).encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *parts: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        provider.issuer = f"http://localhost:{running.server_port}"
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield provider
        finally:
            running.shutdown()
            thread.join()


LIES: dict[str, dict[str, object]] = {
    "another nonce": {"nonce": "guessed"},
    "no nonce": {"nonce": None},
    "for another": {"aud": "another page"},
    "for another, though we asked": {"aud": "another page", "azp": CLIENT},
    "for others too, who asked for it is not said": {"aud": [CLIENT, "another page"]},
    "asked for by another": {"aud": [CLIENT, "another page"], "azp": "another page"},
    "expired": {"exp": int(time.time()) - 120},
    "never expires": {"exp": None},
    "of the future": {"iat": int(time.time()) + 3600},
    "of another issuer": {"iss": "http://localhost:1"},
    "of nobody in particular": {"preferred_username": None},
    "of a list": {"preferred_username": ["anna"]},
}


def unsigned(claims: dict[str, object]) -> str:
    parts = (json.dumps(part).encode() for part in ({"alg": "none", "kid": "one"}, claims))
    return ".".join([*(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts), ""])
