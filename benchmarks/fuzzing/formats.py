"""Photographs in the supported formats, and mutations that leave enough of each for its decoder to start."""

import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO

from numpy.random import Generator
from PIL import Image

from benchmarks.fuzzing.mutations import ANY, Mutator, extreme, mutated, one

PNG_HEAD, PNG_FIELDS = b"\x89PNG\r\n\x1a\n", (4, 4, 1, 1, 1, 1, 1)
PNG_KINDS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"tRNS", b"PLTE", b"acTL", b"fcTL", b"fdAT", b"IDAT", b"IHDR")
JPEG_MARKERS = (0xC0, 0xC1, 0xC2, 0xC3, 0xC4, 0xC9, 0xCC, 0xDA, 0xDB, 0xDC, 0xDD, 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE)
JPEG_BEGINNINGS = (
    *(b"Exif\0\0II*\0\x08\0\0\0", b"MPF\0II*\0\x08\0\0\0", b"ICC_PROFILE\0\x01\x02"),
    *(b"Photoshop 3.0\x008BIM", b"Adobe\0\x64\0\0\0\0\x02", b""),
)
TIFF_TYPES = (*range(14), 16, 65535)
TIFF_TAGS = (*range(254, 345), 347, 512, 513, 514, 529, 530, 700, 33432, 34377, 34665, 34675, 34853, 40965, 50706)
MODES: Mapping[str, Sequence[tuple[str, Mapping[str, object]]]] = {
    "JPEG": [("RGB", {}), ("RGB", {"progressive": True}), ("L", {}), ("CMYK", {}), ("RGB", {"subsampling": 0})],
    "PNG": [("RGB", {}), ("RGBA", {}), ("P", {}), ("L", {}), ("LA", {}), ("1", {}), ("I;16", {})],
    "TIFF": [
        *(
            ("RGB", {"compression": compression})
            for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg")
        ),
        *(("CMYK", {}), ("1", {"compression": "group4"}), ("P", {}), ("LA", {}), ("F", {})),
    ],
    "BMP": [("RGB", {}), ("P", {}), ("L", {}), ("1", {})],
}
"""Pillow's modes and options, by format."""


def written(photograph: Image.Image, kind: str) -> list[bytes]:
    """Return files in every mode and option of a format, and one that EXIF turns by 90°."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    plain = [encoded(_in_mode(photograph, mode), kind, **options) for mode, options in MODES[kind]]
    return plain if kind == "BMP" else [*plain, encoded(photograph, kind, exif=exif)]


def encoded(photograph: Image.Image, kind: str, **options: object) -> bytes:
    file = BytesIO()
    photograph.save(file, kind, **options)
    return file.getvalue()


def _in_mode(photograph: Image.Image, mode: str) -> Image.Image:
    return photograph.convert("L").convert("I").convert(mode) if mode == "I;16" else photograph.convert(mode)


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(PNG_HEAD)
    while at + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        yield kind, content[at + 8 : at + 8 + length]
        at += 12 + length


def _png(content: bytes, rng: Generator) -> bytes:
    """Change, move, double or add a chunk, with correct checksums."""
    chunks = list(_png_chunks(content)) or [(b"IHDR", bytes(13))]
    at = int(rng.integers(len(chunks)))
    kind, body = chunks[at]
    other = one(PNG_KINDS, rng)
    match rng.integers(5):
        case 0:
            chunks[at] = (kind, mutated(body, rng, ANY, most=1))
        case 1:
            chunks.insert(int(rng.integers(len(chunks))), chunks.pop(at))
        case 2:
            chunks.insert(at, (other, _text_chunk(rng)))
        case 3:
            chunks.insert(at, (other, body))
        case _:
            chunks[0] = (chunks[0][0], _with_extremes(chunks[0][1], PNG_FIELDS, rng))
    return PNG_HEAD + b"".join(_png_chunk(*chunk) for chunk in chunks)


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _text_chunk(rng: Generator) -> bytes:
    """Return the body of a text chunk that decompresses to up to 20 MB."""
    text = zlib.compress(bytes(int(10 ** (7.3 * rng.random()))))
    return b"key\0" + one((b"\0" + text, b"\1\0\0\0" + text, rng.bytes(30)), rng)


def _with_extremes(body: bytes, sizes: Sequence[int], rng: Generator) -> bytes:
    """Set one of the first fields, of these sizes in bytes, to an extreme value."""
    at = int(rng.integers(len(sizes)))
    start = sum(sizes[:at])
    return body[:start] + extreme(sizes[at], rng) + body[start + sizes[at] :]


def _jpeg_segments(content: bytes) -> list[bytes]:
    """Return the segments with their markers; the last is the first scan with all bytes after it."""
    segments, at = [], 2
    while at + 4 <= len(content) and content[at] == 0xFF and content[at + 1] != 0xDA:
        length = 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        segments.append(content[at : at + length])
        at += length
    return [*segments, content[at:]]


def _jpeg(content: bytes, rng: Generator) -> bytes:
    """Change, move, double or add a segment, or give a frame extreme dimensions or components."""
    segments = _jpeg_segments(content)
    at = int(rng.integers(len(segments)))
    frames = [number for number, segment in enumerate(segments) if segment[1:2] in (b"\xc0", b"\xc1", b"\xc2")]
    match rng.integers(5):
        case 0:
            segments[at] = segments[at][:4] + mutated(segments[at][4:], rng, ANY, most=1)
        case 1:
            segments.insert(int(rng.integers(len(segments))), segments.pop(at))
        case 2:
            segments.insert(at, _jpeg_segment(one(JPEG_MARKERS, rng), rng))
        case 3:
            segments.insert(at, segments[at])
        case _ if frames:
            head, body = segments[frames[0]][:4], segments[frames[0]][4:]
            segments[frames[0]] = head + _with_extremes(body, (1, 2, 2, 1, 1, 1, 1, 1), rng)
    return b"\xff\xd8" + b"".join(segments)


def _jpeg_segment(marker: int, rng: Generator) -> bytes:
    content = one(JPEG_BEGINNINGS, rng) + rng.bytes(int(rng.integers(64)))
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def _tiff(content: bytes, rng: Generator) -> bytes:
    """Change the tag, type, count or value of an entry of the first directory."""
    order = "<" if content.startswith(b"II") else ">"
    if len(content) < 8 or (first := struct.unpack_from(f"{order}I", content, 4)[0]) + 2 > len(content):
        return mutated(content, rng, ANY, most=1)
    entries = min(struct.unpack_from(f"{order}H", content, first)[0], (len(content) - first - 2) // 12)
    if entries < 1:
        return mutated(content, rng, ANY, most=1)
    at = first + 2 + 12 * int(rng.integers(entries))
    tag, kind, count, value = struct.unpack_from(f"{order}HHI4s", content, at)
    match rng.integers(5):
        case 0:
            tag = one(TIFF_TAGS, rng)
        case 1:
            kind = one(TIFF_TYPES, rng)
        case 2:
            count = int.from_bytes(extreme(4, rng), "little")
        case 3:
            value = struct.pack(f"{order}I", first)  # a directory that contains itself
        case _:
            value = extreme(4, rng)
    return content[:at] + struct.pack(f"{order}HHI4s", tag, kind, count, value) + content[at + 12 :]


def _bmp(content: bytes, rng: Generator) -> bytes:
    return content[:2] + _with_extremes(content[2:], (4, 2, 2, 4, 4, 4, 4, 2, 2, 4, 4, 4, 4, 4, 4), rng)


OF_FORMAT: Mapping[str, Mutator] = {"JPEG": _jpeg, "PNG": _png, "TIFF": _tiff, "BMP": _bmp}
