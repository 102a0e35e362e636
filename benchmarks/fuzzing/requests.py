"""HTTP requests as bytes, so that they can contain anything."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

Header = tuple[bytes, bytes]

LENGTH, TYPE = b"Content-Length", b"Content-Type"
URLENCODED = (TYPE, b"application/x-www-form-urlencoded")
MULTIPART = (TYPE, b"multipart/form-data; boundary=a-boundary")
JSON = (TYPE, b"application/json")
NO_HEADER_HOLDS = b"\r\n\0"


@dataclass(frozen=True)
class Request:
    method: str
    path: bytes
    headers: tuple[Header, ...] = ()
    body: bytes = b""

    def sized(self) -> "Request":
        return self.with_header(LENGTH, str(len(self.body)).encode())

    def with_header(self, name: bytes, value: bytes) -> "Request":
        others = tuple(each for each in self.headers if each[0] != name)
        return replace(self, headers=(*others, (name, value.translate(None, NO_HEADER_HOLDS))))


@dataclass(frozen=True)
class Part:
    """One field of a form; `file` is the file name of an upload."""

    name: bytes
    value: bytes
    file: bytes | None = None

    def written(self) -> bytes:
        file = b"" if self.file is None else b'; filename="%s"\r\nContent-Type: image/jpeg' % self.file
        head = b'--a-boundary\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n' % (self.name, file)
        return head + self.value + b"\r\n"


def form(path: bytes, parts: Sequence[Part], *headers: Header) -> Request:
    body = b"".join(part.written() for part in parts) + b"--a-boundary--\r\n"
    return Request("POST", path, (*headers, MULTIPART), body).sized()
