"""Photographs as image files: JPEG, PNG, TIFF, BMP or WebP."""

import hashlib
import io
import logging
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

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
"""The default limit and the highest limit, just below Pillow's own."""
LARGER = "Scale it down, or raise most_megapixels"
THUMBNAIL = 0.5
"""A page of a TIFF with at most this share of the pixels of the largest one is a smaller copy of it."""
MOST_PAGES = 16
"""Limit of pages of a TIFF: a pyramid of copies has fewer, and the search of each page takes time."""
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
"""Eight bits a channel; deeper modes would need a window, which these formats do not state."""

DAMAGED = (
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, RuntimeError),
    *(OSError, EOFError, SyntaxError, struct.error),
)
"""What Pillow raises when a file ends too soon or a part of it is broken."""

BOMB = (Image.DecompressionBombWarning, Image.DecompressionBombError)
# Pillow warns of damaged metadata, even where the pixels are whole, and, before decoding, of pixels above its limit.
warnings.filterwarnings("ignore", module=r"PIL\.")
warnings.simplefilter("error", Image.DecompressionBombWarning)
logging.getLogger("PIL").setLevel(logging.INFO)  # at lower levels it logs the metadata of files


class InvalidPhotograph(DataError):
    """A file that cannot be used as a photograph: its name, the requirement, the value found, and a remedy."""

    def __init__(self, name: str, requirement: str, got: object, remedy: str) -> None:
        super().__init__(f"{name} must be {requirement}, got {got}. {remedy}, or leave it out.")


@dataclass(frozen=True)
class PhotographFile:
    """An image file, turned upright by its EXIF orientation, as the grader saw it.

    With `known_digest` the digest is not computed again. A file whose header gives more than `most_pixels` is refused
    before it is decoded.
    """

    path: Path
    known_digest: str | None = field(default=None, compare=False, repr=False)
    most_pixels: int = field(default=MOST_PIXELS, compare=False, repr=False)

    @property
    def name(self) -> str:
        """The whole path: data sets repeat file names in training and test folders."""
        return str(self.path)

    def digest(self) -> str:
        return self.known_digest or hashlib.sha256(self._content()).hexdigest()

    def state(self) -> str:
        """Return a text that changes when the file is written or removed; the file is not read."""
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
                jpeg.decoded(content, "CMYK")  # to find damage; Pillow converts its colours
            pixels = np.array(image.convert("RGB"))
            if image.format == "PNG":
                self._check_sums(content)
            return _upright(pixels, image)

    def reduced(self, side: int) -> NDArray[np.uint8] | None:
        """Decode a JPEG at 1/2, 1/4 or 1/8 of its size, no side below `side`. None for other or small files."""
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
                    self._select_photograph(image)
                if image.mode not in MODES:
                    raise self._refused("8 bits a channel", f"mode {image.mode}", "Convert it")
                yield image
        except InvalidPhotograph:
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
        """Verify the checksums of all chunks; decoding skips those of the pixels."""
        with self._identified(io.BytesIO(content)) as image:
            image.verify()

    def _check_size(self, image: Image.Image) -> None:
        if image.width * image.height > self.most_pixels:
            raise self._too_large(f"{image.height} × {image.width}")

    def _too_large(self, got: str) -> InvalidPhotograph:
        return self._refused(f"at most {self.most_pixels} pixels", got, LARGER)

    def _select_photograph(self, image: TiffImageFile) -> None:
        """Select the largest page of a TIFF; the others must be smaller copies."""
        sizes = [image.width * image.height]
        with suppress(EOFError):  # after the last page; to count the pages, Pillow would read all of them
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

    def _unreadable(self, error: OSError) -> InvalidPhotograph:
        return self._refused("readable", error.strerror, "Check the path and its permissions")

    def _refused(self, requirement: str, got: object, remedy: str) -> InvalidPhotograph:
        return InvalidPhotograph(self.name, requirement, got, remedy)


def stored_photograph(path: Path, digest: str | None = None) -> PhotographFile:
    """Return a photograph that was stored earlier, with the highest limit on pixels."""
    return PhotographFile(path, digest, most_pixels=LARGEST_LIMIT)


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode pixels (height, width, 3) as PNG without metadata."""
    options = (
        *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
        *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG),
    )
    return cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), options)[1].tobytes()


def _upright(pixels: NDArray[np.uint8], image: Image.Image) -> NDArray[np.uint8]:
    """Turn pixels upright by the EXIF orientation of `image`, from which they were decoded."""
    if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
        return pixels
    turned = Image.fromarray(pixels)
    turned.info = image.info
    return np.array(ImageOps.exif_transpose(turned))
