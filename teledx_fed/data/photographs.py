"""Photographs as they lie on disk: a file each, or many in one array."""

import hashlib
import io
import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import IO
from zipfile import BadZipFile

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from teledx_fed.config.data import LARGEST_MEGAPIXELS, MOST_MEGAPIXELS
from teledx_fed.core.errors import DataError
from teledx_fed.data import jpeg

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
MOST_PIXELS, LARGEST_LIMIT = (round(1e6 * limit) for limit in (MOST_MEGAPIXELS, LARGEST_MEGAPIXELS))
"""By default, and at all: Pillow's own limit is little above."""
LARGER = "Scale it down, or raise most_megapixels"
THUMBNAIL = 0.5
"""A page of a TIFF with at most this share of the pixels of the largest one is a smaller copy of it."""
MOST_PAGES = 16
"""Of a TIFF: a pyramid of copies has fewer, and looking for the largest page costs time for each."""
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Eight bits a channel; deeper ones would need a window, which nobody told us."""

DAMAGED = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, RuntimeError),
    *(OSError, EOFError, SyntaxError, struct.error),
)
"""What Pillow raises when a file ends too soon or a part of it is broken."""

BOMB = (Image.DecompressionBombWarning, Image.DecompressionBombError)
# Of damaged metadata Pillow warns, though the pixels are whole; of more pixels than its limit, before it decodes them.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.simplefilter("error", Image.DecompressionBombWarning)
logging.getLogger("PIL").setLevel(logging.INFO)  # below, it tells what stands in a file's metadata


class Refused(DataError):
    """A file that is no photograph for us: which, why, and what to do."""

    def __init__(self, name: str, requirement: str, got: object, remedy: str) -> None:
        super().__init__(f"{name} must be {requirement}, got {got}. {remedy}, or leave it out.")


@dataclass(frozen=True)
class PhotographFile:
    """A JPEG, PNG, TIFF, BMP or WebP file, upright as its EXIF orientation says: as the grader saw it.

    `known_digest` spares reading the file where its digest was found before. More than `most_pixels` are refused by the
    header, before anything is decoded.
    """

    path: Path
    known_digest: str | None = field(default=None, compare=False, repr=False)
    most_pixels: int = field(default=MOST_PIXELS, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The whole path: data sets repeat file names in their training and test folders."""
        return str(self.path)

    def digest(self) -> str:
        return self.known_digest or hashlib.sha256(self._content()).hexdigest()

    def state(self) -> str:
        """What changes whenever somebody writes to the file, or where it is gone; nothing of it is read."""
        try:
            stat = self.path.stat()
        except OSError as error:
            return f"{self.name} {error.strerror}"
        return f"{self.path.absolute()} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"

    def size(self) -> tuple[int, int]:
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise self._unreadable(error) from error
        with file, self._identified(file) as image:
            return image.height, image.width

    def read(self) -> NDArray[np.uint8]:
        content = self._content()
        with self._identified(io.BytesIO(content)) as image:
            if isinstance(image, JpegImageFile) and image.mode != "CMYK":
                return _upright(jpeg.decoded(content), image)
            if isinstance(image, JpegImageFile):
                jpeg.decoded(content, "CMYK")  # for its damages; its inks are Pillow's to mix
            pixels = np.array(image.convert("RGB"))
            if image.format == "PNG":
                self._check_sums(content)
            return _upright(pixels, image)

    def reduced(self, side: int) -> NDArray[np.uint8] | None:
        """At 1/2, 1/4 or 1/8 of its size, no side below `side`: for a JPEG less work. None where that cannot be had."""
        content = self._content()
        with self._identified(io.BytesIO(content)) as image:
            part = next((part for part in (8, 4, 2) if min(image.size) // part >= side), None)
            if part is None or not isinstance(image, JpegImageFile) or image.mode == "CMYK":
                return None
            return _upright(jpeg.decoded(content, least=(-(-image.height // part), -(-image.width // part))), image)

    @contextmanager
    def _identified(self, file: IO[bytes]) -> Iterator[Image.Image]:
        try:
            with Image.open(file, formats=FORMATS) as image:
                self._check_size(image)
                if isinstance(image, TiffImageFile):
                    self._turn_to_photograph(image)
                self._check_mode(image.mode)
                yield image
        except Refused:
            raise
        except BOMB as error:
            raise self._too_large("more in its header") from error
        except UnidentifiedImageError as error:
            raise self._refused(f"a {', '.join(FORMATS)} file", "something else", "Convert it") from error
        except DAMAGED as error:
            raise self._refused("whole", error, "Copy it again from its source") from error

    def _content(self) -> bytes:
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise self._unreadable(error) from error
        if not content:
            raise self._refused("an image", "an empty file", "Copy it again from its source")
        return content

    def _check_sums(self, content: bytes) -> None:
        """Of all chunks; decoding reads none of those that hold pixels."""
        with self._identified(io.BytesIO(content)) as image:
            image.verify()

    def _check_size(self, image: Image.Image) -> None:
        if image.width * image.height > self.most_pixels:
            raise self._too_large(f"{image.height} × {image.width}")

    def _too_large(self, got: str) -> Refused:
        return self._refused(f"at most {self.most_pixels} pixels", got, LARGER)

    def _turn_to_photograph(self, image: TiffImageFile) -> None:
        """To the largest page, beside which the others are smaller copies."""
        sizes = [image.width * image.height]
        with suppress(EOFError):  # which ends them: to ask for their number would read them all
            while True:
                image.seek(len(sizes))
                self._check_size(image)
                sizes.append(image.width * image.height)
                if len(sizes) > MOST_PAGES:
                    raise self._refused(f"of at most {MOST_PAGES} pages", "more", "Save the photograph alone")
        largest = int(np.argmax(sizes))
        if any(size > THUMBNAIL * sizes[largest] for page, size in enumerate(sizes) if page != largest):
            raise self._refused("one photograph", f"{len(sizes)} pages of like sizes", "Save each as a file of its own")
        image.seek(largest)

    def _check_mode(self, mode: str) -> None:
        if mode not in MODES:
            raise self._refused("8 bits a channel", f"mode {mode}", "Convert it")

    def _unreadable(self, error: OSError) -> Refused:
        return self._refused("readable", error.strerror, "Check the path and its permissions")

    def _refused(self, requirement: str, got: object, remedy: str) -> Refused:
        return Refused(self.name, requirement, got, remedy)


def stored_photograph(path: Path, digest: str | None = None) -> PhotographFile:
    """A photograph that was taken in before, whatever the limit is now."""
    return PhotographFile(path, digest, most_pixels=LARGEST_LIMIT)


@dataclass(frozen=True)
class PhotographInMemory:
    """What was decoded already."""

    name: str
    pixels: NDArray[np.uint8] = field(repr=False)

    def digest(self) -> str:
        return hashlib.sha256(repr(self.pixels.shape).encode() + self.pixels.tobytes()).hexdigest()

    def size(self) -> tuple[int, int]:
        height, width = self.pixels.shape[:2]
        return height, width

    def read(self) -> NDArray[np.uint8]:
        return self.pixels


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels (height, width, 3) and nothing else: no name, no place, no date."""
    how = (cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG)
    return cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), how)[1].tobytes()


def laid_over(photograph: Path, layer: Path, opacity: float = 0.6) -> NDArray[np.uint8]:
    """Both PNG files of one size, the layer transparent where it shows nothing."""
    with Image.open(photograph) as below, Image.open(layer) as file:
        above = file.convert("RGBA")
        above.putalpha(above.getchannel("A").point(lambda alpha: round(opacity * alpha)))
        return np.array(Image.alpha_composite(below.convert("RGBA"), above).convert("RGB"))


def _upright(pixels: NDArray[np.uint8], image: Image.Image) -> NDArray[np.uint8]:
    """As the orientation of `image`, which they were decoded from, says."""
    if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
        return pixels
    turned = Image.fromarray(pixels)
    turned.info = image.info
    return np.array(ImageOps.exif_transpose(turned))


@dataclass(frozen=True)
class ArrayPhotograph:
    """Row `index` of the array `key` in an `.npz` file: height × width, grey, or height × width × 3, RGB."""

    path: Path
    key: str
    index: int

    @property
    def name(self) -> str:
        return f"{self.path}/{self.key}/{self.index}"

    def digest(self) -> str:
        image = self.read()
        return hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()

    def size(self) -> tuple[int, int]:
        height, width = self.read().shape[:2]
        return height, width

    def read(self) -> NDArray[np.uint8]:
        try:
            image = _array(self.path, self.key)[self.index]
        except (OSError, ValueError, EOFError, BadZipFile, KeyError, IndexError) as error:
            raise DataError(
                f"{self.name} must be an image in a whole .npz file, got {error}. Copy the file again from its source."
            ) from error
        if image.dtype != np.uint8 or image.shape[2:] not in ((), (3,)) or image.size == 0:
            raise DataError(
                f"{self.name} must be uint8, height × width or height × width × 3,"
                f" got {image.dtype} {image.shape}. Convert the array, or leave it out."
            )
        return np.stack([image] * 3, axis=-1) if image.ndim == 2 else image.copy()


@lru_cache(maxsize=3)  # the training, validation and test images of one file: an archive has no way to read a row
def _array(path: Path, key: str) -> NDArray[np.uint8]:
    with path.open("rb") as file, np.load(file) as arrays:
        return np.asarray(arrays[key])
