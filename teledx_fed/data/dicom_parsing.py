"""DICOM files of any origin (PS3.5, PS3.10): parse chosen elements in bounded memory, or refuse the file."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

from pydicom import Dataset, uid
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag

from teledx_fed.core.errors import DataError
from teledx_fed.data.photographs import BOMB, DAMAGED, InvalidPhotograph

LOSSLESS_JPEGS = {uid.JPEGLossless, uid.JPEGLosslessSV1}
JPEGS = {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, *LOSSLESS_JPEGS}
"""With 8 bits a sample: the libjpeg in Pillow reads no deeper ones."""
JPEG_LS = {uid.JPEGLSLossless, uid.JPEGLSNearLossless}
JPEG_2000 = {uid.JPEG2000Lossless, uid.JPEG2000}
UNCOMPRESSED = {uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian}
SYNTAXES = {*UNCOMPRESSED, uid.RLELossless, *JPEGS, *JPEG_LS, *JPEG_2000}
"""Without deflated syntaxes: pydicom decompresses them whole, to any size."""

PREFIX = slice(128, 132)
PIXEL_DATA = Tag("PixelData")
MAX_READS = 100_000
"""Limit of reads of a header, up to three an element. Real headers need hundreds; millions would fill the memory."""
MAX_VALUE = 1 << 18
"""Limit of the bytes of any value except the pixels: twice the largest palette."""

MALFORMED = (*DAMAGED, *BOMB, StopIteration, MemoryError, Warning, InvalidDicomError, BytesLengthException)
"""Exceptions of pydicom, and of Pillow below it, for malformed files; also warnings, where they are errors."""
# Their warnings and logs quote the file, with identifiers.
warnings.filterwarnings("ignore", module=r"pydicom\.")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)


@contextmanager
def whole(name: str, part: str) -> Iterator[None]:
    """Refuse a file for any error in one of its parts, without quoting its content."""
    try:
        yield
    except InvalidPhotograph:
        raise
    except MALFORMED:
        raise InvalidPhotograph(name, "a whole DICOM file", f"{part} that cannot be read", "Export it again") from None


def parse(content: bytes, name: str, keywords: tuple[str, ...]) -> Dataset:
    """Parse the elements of these keywords and the meta information of a file."""
    stream = _Counted(content)
    stream.seek(PREFIX.stop)
    with whole(name, "a header"):
        meta = FileMetaDataset(read_dataset(stream, False, True, stop_when=_after_meta))
        syntax = _syntax(meta, name)
        tags = [Tag(keyword) for keyword in keywords]
        dataset = read_dataset(stream, syntax.is_implicit_VR, syntax.is_little_endian, specific_tags=list(tags))
        dataset.file_meta = meta
        _check_lengths(dataset, name)
    return dataset


def text(dataset: Dataset, keyword: str) -> str:
    """Return an element as text, with single spaces; empty where it is missing."""
    value = dataset.get(keyword)
    return "" if value is None else " ".join(str(value).split())


def exact(dataset: Dataset, keyword: str) -> str:
    """Return an element as text without padding, exactly as the archive searches for it."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip(" \0")


def called(identifier: str) -> str:
    """Return the standard name of a UID. Another UID is not quoted, since a file can hold any text there."""
    name = uid.UID(identifier).name
    return "an unknown one" if name == identifier else name


def _after_meta(tag: BaseTag, vr: str | None, length: int) -> bool:
    return tag.group != 2


def _syntax(meta: Dataset, name: str) -> uid.UID:
    syntax = uid.UID(text(meta, "TransferSyntaxUID"))
    if syntax not in SYNTAXES:
        got = f"transfer syntax {called(syntax)}"
        raise InvalidPhotograph(
            name, "uncompressed or compressed as RLE, JPEG, JPEG-LS or JPEG 2000", got, "Export it in one of these"
        )
    return syntax


def _check_lengths(dataset: Dataset, name: str) -> None:
    raw = [element for element in dataset.elements() if isinstance(element, RawDataElement)]
    longest = max((len(element.value or b"") for element in raw if element.tag != PIXEL_DATA), default=0)
    if longest > MAX_VALUE:
        raise InvalidPhotograph(name, f"described in values of at most {MAX_VALUE} bytes", longest, "Export it again")


class _Counted(BytesIO):
    """A stream that limits reads: each element and item, at any depth, needs reads."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise DataError(f"a header must take at most {MAX_READS} reads")
        return super().read(size)
