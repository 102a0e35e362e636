"""Decode JPEG files (ITU-T T.81) in full, or refuse them: other decoders fill missing parts with grey."""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from teledx_fed.core.errors import DataError

START_OF_FRAME = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
PROGRESSIVE = {0xC2, 0xC6, 0xCA, 0xCE}
HUFFMAN_TABLES, START_OF_SCAN, END_OF_IMAGE, ALONE = 0xC4, 0xDA, 0xD9, {0x01, *range(0xD0, 0xD9)}
MARKER = re.compile(rb"\xff+([^\x00\xff])")
AFTER_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""A marker that ends a scan; within a scan, 0 or a restart marker's number follows 0xFF."""
COEFFICIENTS = 64
MOST_SCANS = 100
"""A progressive JPEG has about ten. A scan of a few bytes needs a pass over the whole image; a file can hold many."""
SEQUENTIAL_SCAN = bytes((0, COEFFICIENTS - 1, 0))
AC, RUN_OF_ZEROS = 0x10, 0xF0
"""The class of tables of AC coefficients; their symbol for 16 zeros."""
ZEROED = bytes(48)
"""Zero bytes are a flat area where their code ends a block; else dozens of equal coefficients, as in no photograph."""

Colours = Literal["RGB", "CMYK"]


@dataclass(frozen=True)
class _Segment:
    """A segment: its parameters lie from `start` to `end` of the file, and the next segment begins at `following`."""

    marker: int
    start: int
    end: int
    following: int


def decoded(content: bytes, colours: Colours = "RGB", least: tuple[int, int] = (0, 0)) -> NDArray[np.uint8]:
    """Decode a whole JPEG to height × width × 3 or 4; bytes after its end are ignored. Raise a `ValueError` for damage.

    `least`, a half, quarter or eighth of height and width, rounded up, decodes to that size with less work.
    """
    height, width = least
    repaired = _Scans(content).repaired
    return simplejpeg.decode_jpeg(repaired, colours, min_height=height, min_width=width, min_factor=1, strict=True)


class _Scans:
    """Check that no scan is missing or zeroed in part, which decoders do not always report."""

    def __init__(self, content: bytes) -> None:
        self.repaired = bytearray(content)
        self._missing: dict[int, set[int]] = {}
        self._zeros: dict[int, int] = {}
        self._progressive = False
        scans = 0
        for segment in _segments(content):
            if segment.marker in START_OF_FRAME:
                self._progressive = segment.marker in PROGRESSIVE
                components = content[segment.start + 6 : segment.end : 3]
                self._missing = {component: set(range(COEFFICIENTS)) for component in components}
            elif segment.marker == HUFFMAN_TABLES:
                self._read_tables(content[segment.start : segment.end])
            elif segment.marker == START_OF_SCAN:
                scans += 1
                if scans > MOST_SCANS:
                    raise DataError(f"more than {MOST_SCANS} scans")
                self._check_scan(content, segment)
        if not self._missing or any(self._missing.values()):
            raise DataError("scans of the image are missing")

    def _read_tables(self, tables: bytes) -> None:
        """Read the symbol of a code of zeros: the first in each table."""
        while len(tables) > 17:
            self._zeros[tables[0]] = tables[17]
            tables = tables[17 + sum(tables[1:17]) :]

    def _check_scan(self, content: bytes, scan: _Segment) -> None:
        """Check a scan. Correct the parameters of a sequential one: some phones write invalid ones."""
        if not self._progressive:
            self.repaired[scan.end - 3 : scan.end] = SEQUENTIAL_SCAN
        first, last, precision = self.repaired[scan.end - 3 : scan.end]
        components = content[scan.start + 1 : scan.end - 3]
        if precision & 15 == 0:  # the last bits of these coefficients
            for component in components[::2]:
                self._missing.get(component, set()).difference_update(range(first, last + 1))
        symbols = [self._zeros.get(AC | table & 15, 0) for table in components[1::2]]
        ends_block = all(symbol & 15 == 0 and symbol != RUN_OF_ZEROS for symbol in symbols)
        if last > 0 and precision >> 4 == 0 and not ends_block and content.find(ZEROED, scan.end, scan.following) >= 0:
            raise DataError("a part of the image is zeros")


def _segments(content: bytes) -> Iterator[_Segment]:
    """Yield segments up to the end of the image, or of the file."""
    at = 2
    while match := MARKER.match(content, at):
        marker, at = match[1][0], match.end()
        if marker == END_OF_IMAGE or at + 2 > len(content):
            return
        if marker in ALONE:
            continue
        end = following = at + struct.unpack_from(">H", content, at)[0]
        if marker == START_OF_SCAN:
            after = AFTER_SCAN.search(content, end)
            following = after.start() if after else len(content)
        yield _Segment(marker, at + 2, end, following)
        at = following
