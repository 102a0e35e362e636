import io
from pathlib import Path

import numpy as np
from PIL import Image

from teledx_fed.data.photographs import PhotographFile

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def encoded(image: Image.Image, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def stored(folder: Path, content: bytes, name: str = "photograph") -> PhotographFile:
    (folder / name).write_bytes(content)
    return PhotographFile(folder / name)
