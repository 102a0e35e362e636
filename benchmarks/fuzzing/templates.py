"""Requests of devices and browsers; values that a person typed are sometimes malformed."""

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlencode

from numpy.random import Generator

from benchmarks.fuzzing.malformed_inputs import METHODS, perhaps
from benchmarks.fuzzing.mutations import EXTREMES, one
from benchmarks.fuzzing.requests import JSON, URLENCODED, Header, Part, Request, form

SNOMED = "http://snomed.info/sct"
PASSWORD = "correct horse battery"
RECORDS: tuple[bytes, ...] = (
    *(b'{"age": 61}', b'{"age": NaN}', b'{"age": 1e400}', b'{"age": "\\ud800"}', b'{"acuity": -0.0}', b"[" * 5000),
    *(b'{"diabetes": 1}', b'{"\\u0000": 1}', b'{"pregnant": "yes"}', b'{"age":' * 500, b'{"age": ' + b"9" * 400 + b"}"),
)
LENGTHS = (b"NaN", b"1e400", b'"\\ud800"', b"[]", b"true", b"0.5", *(str(number).encode() for number in EXTREMES))
PAGES = (
    *("", "login", "logout", "upload", "studies", "studies/{study}", "studies/{study}/reading", "static/page.css"),
    *(
        "studies/{study}/report.pdf",
        "studies/{study}/report.dcm",
        "studies/{study}/report-pseudonymous.dcm",
        "studies/{study}/report.json",
        "link/{link}",
    ),
    *(
        "studies/{study}/report.fhir.json",
        "studies/{study}/images/{digest}.png",
        "studies/{study}/maps/heat_map/{digest}.png",
        "administration",
    ),
    *("static/../app.py", "favicon.ico", "docs", "api/v1/openapi.json", "api/v1/studies", "api/v1/studies/{study}"),
    *("api/v1/uploads", "api/v1/uploads/{upload}", "administration", "studies/{study}/maps/heat_map/{digest}.png"),
)
READING = {
    "left_grade": "1",
    "left_oedema": "no",
    "right_grade": "ungradable",
    "right_oedema": "unknown",
    "urgency": "refer",
    "overrules": "a reflex",
    "note": "",
    "left_findings": "drusen",
}


@dataclass(frozen=True)
class Secrets:
    """Secrets of a user, a device and a link; some requests use the wrong ones."""

    reader: str
    token: str
    cookie: str
    csrf: str
    version: str
    link: str
    study: str
    digest: str
    upload: str
    offset: int
    rest: bytes
    """Bytes that the upload still lacks."""

    @property
    def bearer(self) -> Header:
        return b"Authorization", b"Bearer " + self.token.encode()

    @property
    def session(self) -> Header:
        return b"Cookie", self.cookie.encode()

    def path(self, path: str) -> bytes:
        return b"/" + path.format(**vars(self)).encode()


Files = Callable[[], bytes]
Template = Callable[[Secrets, Files, Generator], Request]
"""Build a request from these secrets and a file, different each time."""


def a_study(secrets: Secrets, files: Files, rng: Generator) -> Request:
    eyes = [Part(b"eyes", one((b"left", b"right", b"unknown"), rng)) for _ in range(rng.integers(1, 4))]
    images = [Part(b"images", files(), perhaps(b"a.jpg", rng)) for _ in eyes]
    record = one(RECORDS if rng.random() < 0.3 else RECORDS[:1], rng)
    fields = [
        Part(b"patient", perhaps(b"4711", rng)),
        Part(b"record", record),
        Part(b"acquired", perhaps(b"2026", rng)),
    ]
    return form(b"/api/v1/studies", [*eyes, *images, *fields][: rng.integers(1, 40)], secrets.bearer, _key(rng))


def a_bundle(secrets: Secrets, files: Files, rng: Generator) -> Request:
    """Return a FHIR bundle; its values are sometimes malformed."""
    side, number, birth = (perhaps(plain, rng).decode(errors="replace") for plain in (b"7771000", b"4711", b"1961-02"))
    content, diabetes = {"data": b64encode(files()).decode()}, {"coding": [{"system": SNOMED, "code": "44054006"}]}
    resources = (
        {"resourceType": "Patient", "identifier": [{"value": number}], "birthDate": birth},
        {"resourceType": "Condition", "code": diabetes},
        {"resourceType": "Media", "content": content, "bodySite": {"coding": [{"system": SNOMED, "code": side}]}},
    )
    entries = [{"resource": resource} for resource in resources[int(rng.integers(3)) :]]
    body = json.dumps({"resourceType": "Bundle", "type": "collection", "entry": entries}).encode()
    return Request("POST", b"/api/v1/fhir/studies", (secrets.bearer, JSON, _key(rng)), perhaps(body, rng)).sized()


def an_uploaded_study(secrets: Secrets, files: Files, rng: Generator) -> Request:
    parts = [Part(b"eyes", b"left"), Part(b"uploads", perhaps(secrets.upload.encode(), rng))]
    return form(b"/api/v1/studies", parts, secrets.bearer, _key(rng))


def an_announcement(secrets: Secrets, files: Files, rng: Generator) -> Request:
    body = b'{"length": %s}' % one(LENGTHS, rng)
    return Request("POST", b"/api/v1/uploads", (secrets.bearer, JSON), body).sized()


def more_of_an_upload(secrets: Secrets, files: Files, rng: Generator) -> Request:
    offset = secrets.offset if rng.random() < 0.8 else one(EXTREMES, rng) - int(rng.integers(2))
    piece = secrets.rest[: int(rng.integers(1, 2 * len(secrets.rest)))] if rng.random() < 0.8 else files()
    headers = (secrets.bearer, (b"Upload-Offset", perhaps(str(offset).encode(), rng)))
    return Request("PATCH", secrets.path("api/v1/uploads/{upload}"), headers, piece).sized()


def a_page(secrets: Secrets, files: Files, rng: Generator) -> Request:
    method = "GET" if rng.random() < 0.5 else one(METHODS, rng)
    return Request(method, secrets.path(one(PAGES, rng)), (secrets.session, secrets.bearer))


def a_log_in(secrets: Secrets, files: Files, rng: Generator) -> Request:
    fields = {"name": secrets.reader.encode(), "password": PASSWORD.encode()}
    if rng.random() < 0.5:
        fields = {"name": perhaps(rng.bytes(4).hex().encode(), rng), "password": perhaps(b"wrong", rng)}
    return Request("POST", b"/login", (URLENCODED,), urlencode(fields).encode()).sized()


def a_reading(secrets: Secrets, files: Files, rng: Generator) -> Request:
    fields = {name: perhaps(value.encode(), rng) for name, value in READING.items()}
    fields |= {"csrf": secrets.csrf.encode(), "version": perhaps(secrets.version.encode(), rng)}
    fields["sign"] = perhaps(one((b"yes", b"no", b"change"), rng), rng)
    path = secrets.path("studies/{study}/reading")
    if rng.random() < 0.3:
        parts = [Part(name.encode(), value, one((None, b"a.txt"), rng)) for name, value in fields.items()]
        return form(path, parts, secrets.session)
    return Request("POST", path, (secrets.session, URLENCODED), urlencode(fields).encode()).sized()


def a_study_by_page(secrets: Secrets, files: Files, rng: Generator) -> Request:
    fields = [Part(b"csrf", secrets.csrf.encode()), Part(b"key", perhaps(rng.bytes(4).hex().encode(), rng))]
    count = int(rng.integers(1, 3 if rng.random() < 0.7 else 19))
    files_sent = [Part(b"files", files(), perhaps(b"a_OD.jpg", rng)) for _ in range(count)]
    return form(b"/upload", [*fields, Part(b"patient", perhaps(b"", rng)), *files_sent], secrets.session)


def a_study_by_link(secrets: Secrets, files: Files, rng: Generator) -> Request:
    eyes = (b"right", b"left", b"right")[: rng.integers(1, 4)]
    photographs = [Part(eye, files(), perhaps(b"a.jpg", rng)) for eye in eyes]
    return form(secrets.path("link/{link}"), [*photographs, Part(b"anyway", perhaps(b"yes", rng))])


def _key(rng: Generator) -> Header:
    return b"Idempotency-Key", rng.bytes(4).hex().encode()


OF_DEVICES: tuple[Template, ...] = (a_study, a_study, a_bundle, an_uploaded_study, an_announcement, more_of_an_upload)
OF_PEOPLE: tuple[Template, ...] = (a_page, a_page, a_log_in, a_reading, a_study_by_page, a_study_by_link)
