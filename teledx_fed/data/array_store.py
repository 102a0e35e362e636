"""Store of one array per photograph on disk. A damaged array can be computed again."""

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.examples import Photograph
from teledx_fed.core.files import write_bytes

CHECKSUM_BYTES = 4


class ArrayStore:
    """A `.npy` file for each photograph's content and `part`, with a checksum after the array.

    Processes may share `folder`: files appear whole or not at all. A process checks each file once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digests: dict[Photograph, str] = {}
        self._whole: set[Path] = set()

    def path(self, photograph: Photograph, part: str = "") -> Path:
        if photograph not in self._digests:
            self._digests[photograph] = photograph.digest()
        digest = self._digests[photograph]
        return self._folder / part / digest[:2] / f"{digest}.npy"

    def holds(self, photograph: Photograph, part: str = "") -> bool:
        """Whether the array is stored: False where the file is missing, short or damaged."""
        path = self.path(photograph, part)
        if path not in self._whole and _is_whole(path):
            self._whole.add(path)
        return path in self._whole

    def read(self, photograph: Photograph, part: str = "") -> NDArray[Any]:
        array: NDArray[Any] = np.load(self.path(photograph, part))
        return array

    def write(self, array: NDArray[Any], photograph: Photograph, part: str = "") -> None:
        buffer = io.BytesIO()
        np.save(buffer, array)
        content = buffer.getvalue()
        write_bytes(self.path(photograph, part), content + _checksum(content), lasting=False)


def _is_whole(path: Path) -> bool:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return False
    return content[-CHECKSUM_BYTES:] == _checksum(content[:-CHECKSUM_BYTES])


def _checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "big")
