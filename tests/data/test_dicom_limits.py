"""Malicious DICOM files: they are refused in bounded memory and time."""

import struct
import tracemalloc
import zlib

import pytest
from dicom_files import (
    RGB,
    content_of,
    photograph,
    refusal,
    store,
)
from pydicom import Dataset, uid
from pydicom.encaps import encapsulate


def header(*elements: bytes) -> bytes:
    """Return a file of these raw explicit VR elements."""
    meta = photograph(RGB)
    for keyword in [element.keyword for element in meta]:
        delattr(meta, keyword)
    meta.SOPClassUID, meta.SOPInstanceUID = "1.2", "1.3"
    return content_of(meta) + b"".join(elements)


UNDEFINED = b"\xff\xff\xff\xff"
ITEM = b"\xfe\xff\x00\xe0"
SEQUENCE = b"\x40\x00\x75\x02SQ\0\0"


@pytest.mark.slow
def test_sequences_without_end_are_refused() -> None:
    deep = header((SEQUENCE + UNDEFINED + ITEM + UNDEFINED) * 50_000)
    assert refusal(deep).startswith("ward/7 must be a whole DICOM file, got a header")
    wide = header(SEQUENCE + UNDEFINED + (ITEM + bytes(4)) * 2_000_000)
    assert refusal(wide).startswith("ward/7 must be a whole DICOM file, got a header")
    many = header(*(struct.pack("<HH2sH", 0x11, element % 65536, b"CS", 0) for element in range(1_000_000)))
    assert refusal(many).startswith("ward/7 must be a whole DICOM file, got a header")
    lying = header(b"\x08\x00\x70\x00UT\0\0\xf0\xff\xff\xffTopcon")
    assert refusal(lying).startswith("ward/7 must be")


@pytest.mark.slow
def test_a_long_value_is_refused() -> None:
    content = content_of(photograph(RGB, AnatomicRegionSequence=[Dataset()] * 100_000))
    assert "described in values of at most 262144 bytes, got 800000" in refusal(content)


def test_decompression_bombs_are_refused() -> None:
    syntax = uid.DeflatedExplicitVRLittleEndian.encode() + b"\0"
    inflating = zlib.compressobj(wbits=-15)
    meta = struct.pack("<HH2sH", 2, 0x10, b"UI", len(syntax)) + syntax
    bomb = bytes(128) + b"DICM" + meta + inflating.compress(bytes(1 << 24)) + inflating.flush()
    assert "got transfer syntax Deflated" in refusal(bomb)
    runs = photograph(RGB, syntax=uid.RLELossless)
    store(runs, encapsulate([struct.pack("<16L", 3, 64, 66, 68, *[0] * 12) + b"\x81\0" * 100_000]))
    assert "must be compressed to less than 7200 bytes, got 200064" in refusal(content_of(runs))


@pytest.mark.slow
def test_memory_is_bounded_by_the_size_of_the_file() -> None:
    wide = header(SEQUENCE + UNDEFINED + (ITEM + bytes(4)) * 1_000_000)
    tracemalloc.start()
    try:
        assert "got a header" in refusal(wide)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 250 << 20, "where a million items would take 600 MiB"
