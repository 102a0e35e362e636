"""Photographs stored as arrays: in memory, or in an `.npz` file of many."""

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.errors import DataError


@dataclass(frozen=True)
class PhotographInMemory:
    """Decoded pixels, height × width × 3, RGB."""

    name: str
    pixels: NDArray[np.uint8] = field(repr=False)

    def digest(self) -> str:
        return hashlib.sha256(repr(self.pixels.shape).encode() + self.pixels.tobytes()).hexdigest()

    def size(self) -> tuple[int, int]:
        height, width = self.pixels.shape[:2]
        return height, width

    def read(self) -> NDArray[np.uint8]:
        return self.pixels


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


@lru_cache(maxsize=3)  # training, validation and test images of one file: an archive only loads whole arrays
def _array(path: Path, key: str) -> NDArray[np.uint8]:
    with path.open("rb") as file, np.load(file) as arrays:
        return np.asarray(arrays[key])
