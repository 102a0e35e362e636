"""DICOM files written without a library (PS3.5, PS3.10), so that anything in them can be wrong."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid

from benchmarks.fuzzing.formats import encoded
from benchmarks.fuzzing.mutations import extreme, one

LONG = ("OB", "OW", "SQ", "UN", "UT", "OF", "OD", "UC", "UR")
VRS = (*LONG, "US", "UI", "CS", "LO", "PN", "DA", "TM", "IS", "DS", "AT", "SS", "UL", "FD", "ZZ", "\0\0")
UNDEFINED = 0xFFFFFFFF
WORDS = (
    *(b"", b"\0\0", b"-1", b"1e999", b"NaN", b"2\\3\\4", b"\xff\xfe", b"../../stranger", b"9" * 400, b"99991399"),
    *(b"RGB ", b"YBR_FULL", b"YBR_FULL_422", b"YBR_ICT ", b"PALETTE COLOR ", b"MONOCHROME1 ", b"L ", b"ISO_IR 192"),
)
PIXELS = 0x7FE00010
NUMBERS = (0x00280002, 0x00280006, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103)
"""Samples, planar configuration, rows, columns, bits allocated and stored, high bit, signs."""
STRINGS = (
    *(0x00080005, 0x00080016, 0x00080020, 0x0008002A, 0x00080070, 0x00081090, 0x00100020, 0x00200060),
    *(0x00200062, 0x00280004, 0x00280008, 0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00281056),
)
"""Character set, class, dates, maker and model, patient, sides, colours, frames, window, rescaling, curve."""


ABOUT = (
    (0x00080016, "UI", uid.OphthalmicPhotography8BitImageStorage.encode() + b"\0"),
    *((0x00080020, "DA", b"20260102"), (0x00080070, "LO", b"Topcon"), (0x00081090, "LO", b"TRC-NW400 ")),
    *((0x00100020, "LO", b"MRN 7 "), (0x00200062, "CS", b"L ")),
)


@dataclass(frozen=True)
class DicomElement:
    """An element with the bytes of its `value`; `length`, if set, is a wrong length to write."""

    tag: int
    vr: str
    value: bytes
    length: int | None = None


@dataclass(frozen=True)
class DicomFile:
    syntax: uid.UID
    elements: tuple[DicomElement, ...]


def file_of(photograph: DicomFile) -> bytes:
    explicit = uid.ExplicitVRLittleEndian
    syntax = DicomElement(0x00020010, "UI", photograph.syntax.encode() + b"\0" * (len(photograph.syntax) % 2))
    meta = _written(syntax, explicit)
    meta = _written(DicomElement(0x00020000, "UL", struct.pack("<I", len(meta))), explicit) + meta
    return bytes(128) + b"DICM" + meta + b"".join(_written(each, photograph.syntax) for each in photograph.elements)


def _written(element: DicomElement, syntax: uid.UID) -> bytes:
    order = "<" if syntax.is_little_endian else ">"
    length = len(element.value) if element.length is None else element.length
    tag = struct.pack(f"{order}HH", element.tag >> 16, element.tag & 0xFFFF)
    if syntax.is_implicit_VR:
        return tag + struct.pack(f"{order}I", length) + element.value
    vr = element.vr.encode()
    size = struct.pack(f"{order}HI", 0, length) if element.vr in LONG else struct.pack(f"{order}H", length % 65536)
    return tag + vr + size + element.value


def photographs(image: Image.Image) -> list[DicomFile]:
    """Return photographs in every supported transfer syntax and some others; in colour, grey and 16 bits."""
    pixels = np.array(image)
    frames: Mapping[uid.UID, bytes] = {
        uid.ExplicitVRLittleEndian: pixels.tobytes(),
        uid.ImplicitVRLittleEndian: pixels.tobytes(),
        uid.ExplicitVRBigEndian: pixels.tobytes(),
        uid.JPEGBaseline8Bit: _encapsulated(encoded(image, "JPEG")),
        uid.JPEG2000Lossless: _encapsulated(encoded(image, "JPEG2000", no_jp2=True)),
        uid.JPEG2000: _encapsulated(encoded(image, "JPEG2000", no_jp2=True, irreversible=True)),
        uid.DeflatedExplicitVRLittleEndian: pixels.tobytes(),
        uid.JPEGLSLossless: _encapsulated(encoded(image, "JPEG")),
    }
    in_colour = [_of(pixels.shape, 8, syntax, frame) for syntax, frame in frames.items()]
    grey, deep = pixels[..., 1], 256 * pixels[..., 1].astype("<u2")
    plain = uid.ExplicitVRLittleEndian
    others = [_of(each.shape, 8 * each.itemsize, plain, each.tobytes()) for each in (grey, deep)]
    return [*in_colour, *others, enlarged(pixels, 2)]


def _of(shape: tuple[int, ...], bits: int, syntax: uid.UID, frame: bytes) -> DicomFile:
    samples = 3 if len(shape) == 3 else 1
    order = "<" if syntax.is_little_endian else ">"
    numbers = zip(NUMBERS, (samples, 0, *shape[:2], bits, bits, bits - 1, 0), strict=True)
    elements = [DicomElement(tag, "US", struct.pack(f"{order}H", number)) for tag, number in numbers]
    colours = DicomElement(0x00280004, "CS", b"RGB " if samples == 3 else b"MONOCHROME2 ")
    elements += [colours, *(DicomElement(*each) for each in ABOUT)]
    length = UNDEFINED if syntax.is_encapsulated else None
    stored = DicomElement(PIXELS, "OW" if bits == 16 else "OB", frame + b"\0" * (len(frame) % 2), length)
    return DicomFile(syntax, (*sorted(elements, key=lambda element: element.tag), stored))


def enlarged(pixels: NDArray[np.uint8], times: int) -> DicomFile:
    """Return a photograph `times` as wide and high, in RLE, without making its pixels."""
    repeated = np.empty((*pixels.shape[:2], 2), np.uint8)
    segments = []
    for channel in np.moveaxis(pixels, -1, 0):
        repeated[..., 0], repeated[..., 1] = 257 - times, channel
        segments.append(np.repeat(repeated.reshape(len(pixels), -1), times, axis=0).tobytes())
    offsets = (64, 64 + len(segments[0]), 64 + 2 * len(segments[0]))
    frame = struct.pack("<16I", 3, *offsets, *[0] * 12) + b"".join(segments)
    height, width = pixels.shape[:2]
    return _of((times * height, times * width, 3), 8, uid.RLELossless, _encapsulated(frame))


def _item(content: bytes, tag: int = 0xE000, length: int | None = None) -> bytes:
    return struct.pack("<HHI", 0xFFFE, tag, len(content) if length is None else length) + content


def _encapsulated(frame: bytes) -> bytes:
    return _item(b"") + _item(frame + b"\0" * (len(frame) % 2)) + _item(b"", 0xE0DD)


Change = Callable[[DicomFile, Generator], DicomFile]


def changed(photograph: DicomFile, rng: Generator) -> DicomFile:
    for _ in range(rng.integers(0, 4)):
        photograph = one(CHANGES, rng)(photograph, rng)
    return photograph


def _with(photograph: DicomFile, element: DicomElement) -> DicomFile:
    others = [each for each in photograph.elements if each.tag != element.tag]
    return replace(photograph, elements=tuple(sorted([*others, element], key=lambda each: each.tag)))


def _extreme_number(photograph: DicomFile, rng: Generator) -> DicomFile:
    return _with(photograph, DicomElement(one(NUMBERS, rng), "US", extreme(2, rng)))


def _malformed_string(photograph: DicomFile, rng: Generator) -> DicomFile:
    return _with(photograph, DicomElement(one(STRINGS, rng), one(("LO", "CS", "DS", "IS", "UI"), rng), one(WORDS, rng)))


def _wrong_vr(photograph: DicomFile, rng: Generator) -> DicomFile:
    return _with(photograph, replace(one(photograph.elements, rng), vr=one(VRS, rng)))


def _wrong_length(photograph: DicomFile, rng: Generator) -> DicomFile:
    length = int.from_bytes(extreme(4, rng), "little")
    return _with(photograph, replace(one(photograph.elements, rng), length=length))


def _left_out(photograph: DicomFile, rng: Generator) -> DicomFile:
    left_out = one(photograph.elements, rng)
    return replace(photograph, elements=tuple(each for each in photograph.elements if each is not left_out))


def _private(photograph: DicomFile, rng: Generator) -> DicomFile:
    tag = int(rng.integers(0x0009, 0x7FDF)) << 16 | int(rng.integers(65536)) | 0x10000
    return _with(photograph, DicomElement(tag, one(VRS, rng), rng.bytes(int(rng.integers(200)))))


def _nested(photograph: DicomFile, rng: Generator) -> DicomFile:
    """Add sequences within sequences, up to thousands deep, to a sequence that is read or to another."""
    inner, defined = b"", rng.random() < 0.5
    tags = (0x00082218, 0x00220031, 0x00400555, 0x00283000)
    for _ in range(int(10 ** (3.6 * rng.random()))):
        sequence = DicomElement(one(tags, rng), "SQ", _item(inner), None if defined else UNDEFINED)
        inner = _written(sequence, photograph.syntax)
        if len(inner) > 2**20:
            break
    return _with(photograph, DicomElement(one(tags, rng), "SQ", _item(inner), None if defined else UNDEFINED))


def _many(photograph: DicomFile, rng: Generator) -> DicomFile:
    """Add up to 100,000 elements, or fragments of a frame."""
    count = int(10 ** (5 * rng.random()))
    if photograph.syntax.is_encapsulated and rng.random() < 0.5:
        return _with(photograph, DicomElement(PIXELS, "OB", _item(b"") * count + _item(b"", 0xE0DD), UNDEFINED))
    added = tuple(DicomElement(0x00090000 + number % 65536, "LO", b"") for number in range(count))
    return replace(photograph, elements=added + photograph.elements)


def _other_syntax(photograph: DicomFile, rng: Generator) -> DicomFile:
    syntaxes = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.RLELossless)
    return replace(photograph, syntax=one((*syntaxes, uid.JPEGBaseline8Bit, uid.JPEG2000, uid.MPEG2MPML), rng))


CHANGES: tuple[Change, ...] = (
    *(_extreme_number, _malformed_string, _wrong_vr, _wrong_length, _left_out),
    *(_private, _nested, _many, _other_syntax),
)
