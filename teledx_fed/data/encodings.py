"""Decode text files: UTF-8, UTF-16 or UTF-32, or the encoding that Excel writes instead."""

import codecs
import unicodedata
from dataclasses import dataclass

from teledx_fed.core.errors import DataError

BYTE_ORDER_MARKS = (  # the longer first: UTF-32's begins like UTF-16's
    *((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be")),
    *((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")),
)
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
SAVE = "Save it as 'CSV UTF-8'."
OR_SAVE = "save it as 'CSV UTF-8'."


@dataclass(frozen=True)
class DecodedText:
    """Decoded text; `note` states the encoding where the program had to assume it."""

    content: str
    note: str = ""


def composed(text: str) -> str:
    """Return text in Unicode's normal form C: a Mac writes `é` as two characters, others as one."""
    return unicodedata.normalize("NFC", text)


def decode(content: bytes) -> DecodedText:
    """Decode a text file. Raise a `DataError` where it is not text.

    Text that is not Unicode is read as Windows-1252: two names then differ exactly where their bytes differ.
    """
    if content.startswith(WORKBOOKS):
        raise DataError(f"must be text, got an Excel workbook. {SAVE}")
    encoding = _unicode(content)
    if encoding is None:
        return _single_bytes(content)
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise DataError(
            f"must be whole {encoding.upper()} text, got {error.reason}. Copy it again, or {OR_SAVE}"
        ) from error
    if "\0" in text:
        raise DataError(f"must be text, got a character of value 0 in row {_line(text, text.index(chr(0)))}. {SAVE}")
    return DecodedText(text)


def _unicode(content: bytes) -> str | None:
    for mark, encoding in BYTE_ORDER_MARKS:
        if content.startswith(mark):
            return encoding
    if b"\0" in content:  # every second byte of text in Latin letters
        return "utf-16-le" if content[1:2] == b"\0" else "utf-16-be"
    try:
        content.decode()
    except UnicodeDecodeError:
        return None
    return "utf-8"


def _single_bytes(content: bytes) -> DecodedText:
    lines = [(number, line) for number, line in enumerate(content.split(b"\n"), 1) if not line.isascii()]
    unicode = [number for number, line in lines if _unicode(line)]
    other = [number for number, line in lines if not _unicode(line)]
    if unicode:
        raise DataError(f"must be in one encoding, got UTF-8 in row {unicode[0]} and another in row {other[0]}. {SAVE}")
    try:
        text = content.decode("cp1252")
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        got = f"the byte {content[error.start]:#x} in row {row}, which is neither"
        raise DataError(f"must be in UTF-8, UTF-16 or Windows-1252, got {got}. {SAVE}") from error
    return DecodedText(text, f" The file is not UTF-8 and was read as Windows-1252: if names look wrong, {OR_SAVE}")


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1
