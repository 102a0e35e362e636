"""Malformed values, and malformed requests."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from urllib.parse import quote

from numpy.random import Generator

from benchmarks.fuzzing.mutations import ANY, mutated, one
from benchmarks.fuzzing.requests import TYPE, Part, Request

MALFORMED: tuple[bytes, ...] = (
    *(b"", b" ", b"\0", b"-1", b"NaN", b"1e999", b"null", b"{}", b"[" * 5000, b"9" * 5000, b"x" * 20_000, b"\xff\xfe"),
    *(b"../../stranger", b"..\\..\\stranger", b"/etc/passwd", b"%2e%2e%2f", b"%00", b"' OR 1=1 --", b"{{7*7}}"),
    *("\u202egnp.exe".encode(), "𝕏é\u0301".encode() * 100, "٣".encode(), b"\xed\xa0\x80", b"<script>alert(1)</script>"),
    *(b'a"; name="eyes', b"x\r\n\r\n--a-boundary--\r\n", b"left", b"yes", b"1"),
)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "get", "BREW", "PROPFIND")
TYPES: tuple[bytes, ...] = (
    *(b"multipart/form-data", b"multipart/form-data; boundary=", b"multipart/form-data; boundary=" + b"-" * 300),
    *(b"multipart/form-data; boundary=a-boundary; charset=unicode_escape", b"multipart/mixed; boundary=a-boundary"),
    *(b"multipart/form-data; boundary=a-boundary; charset=utf-16", b"application/x-www-form-urlencoded", b"text/plain"),
    *(b"application/json; charset=undefined", b"application/json", b";;;", b"\xff", b""),
)
NAMES: tuple[bytes, ...] = (
    *(b"Content-Length", b"Content-Type", b"Authorization", b"Cookie", b"Upload-Offset", b"Idempotency-Key", b"Host"),
    *(b"Range", b"Transfer-Encoding", b"Expect", b"X-Forwarded-For", b"X-HTTP-Method-Override", b"Accept", b"If-Match"),
    *(b"Content-Encoding", b"Content-Disposition", b"Origin"),
)
VALUES: tuple[bytes, ...] = (
    *(b"bytes=0-", b"chunked", b"gzip", b"Bearer ", b"Bearer \xff", b"Basic eDp5", b"100-continue", *TYPES, *MALFORMED),
)


def perhaps(plain: bytes, rng: Generator) -> bytes:
    """Replace a value by a malformed one, once in twenty times."""
    return one(MALFORMED, rng) if rng.random() < 0.05 else plain


def malformed(request: Request, rng: Generator) -> Request:
    """Change a request in up to three places, or in none."""
    for _ in range(one((0, 0, 1, 1, 2, 3), rng)):
        request = one(MUTATIONS, rng)(request, rng)
    return request


def _malformed_path(request: Request, rng: Generator) -> Request:
    parts = request.path.split(b"/")
    parts[int(rng.integers(len(parts)))] = quote(one(MALFORMED, rng)[:2000], safe="%/").encode()
    return replace(request, path=b"/" + b"/".join(parts).lstrip(b"/") + one((b"", b"/", b"?x=%ff&x=1", b"?%00"), rng))


def _malformed_method(request: Request, rng: Generator) -> Request:
    return replace(request, method=one(METHODS, rng))


def _malformed_header(request: Request, rng: Generator) -> Request:
    name = one(NAMES, rng)
    return request.with_header(name, one(VALUES, rng))


def _malformed_type(request: Request, rng: Generator) -> Request:
    return request.with_header(TYPE, one(TYPES, rng))


def _no_header(request: Request, rng: Generator) -> Request:
    left_out = int(rng.integers(len(request.headers) + 1))
    return replace(request, headers=tuple(each for number, each in enumerate(request.headers) if number != left_out))


def _many_headers(request: Request, rng: Generator) -> Request:
    more = tuple((f"x-{number}".encode(), b"x" * 50) for number in range(int(10 ** (4 * rng.random()))))
    return replace(request, headers=(*request.headers, *more))


def _malformed_body(request: Request, rng: Generator) -> Request:
    changed = replace(request, body=mutated(request.body, rng, ANY))
    return changed.sized() if rng.random() < 0.7 else changed


def _many_parts(request: Request, rng: Generator) -> Request:
    part = Part(b"eyes", b"left").written()
    return replace(request, body=part * int(10 ** (3.5 * rng.random())) + request.body).sized()


MUTATIONS: Sequence[Callable[[Request, Generator], Request]] = (
    *(
        _malformed_path,
        _malformed_method,
        _malformed_header,
        _malformed_header,
        _malformed_type,
        _no_header,
        _many_headers,
        _malformed_body,
        _many_parts,
    ),
)
