"""Maps of what speaks for referable disease, kept beside the photograph that they are of."""

from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.files import write_bytes
from teledx_fed.data.disc import Disc
from teledx_fed.data.maps import Map, layer
from teledx_fed.data.preprocessing import place
from teledx_fed.diagnosis.heat_map import sentence
from teledx_fed.store.values import StoredImage


class Evidence(StrEnum):
    """The heat map is there at once, the others are computed in seconds for who asks."""

    HEAT_MAP = "heat_map"
    INTEGRATED_GRADIENTS = "integrated_gradients"
    SHAP = "shap"


def map_of(image: StoredImage, kind: Evidence = Evidence.HEAT_MAP) -> str:
    """Where it lies: a picture to be laid over the photograph."""
    return f"{image.path.removesuffix('.png')}.{kind}.png"


def sentence_of(image: StoredImage, kind: Evidence = Evidence.HEAT_MAP) -> str:
    """Where what it says in words lies."""
    return f"{image.path.removesuffix('.png')}.{kind}.txt"


def keep(
    folder: Path, image: StoredImage, pixels: NDArray[np.uint8], map: Map, disc: Disc | None, kind: Evidence
) -> tuple[str, ...]:
    """The paths of what was written for a map (h, h) of the prepared photograph."""
    middle = None if disc is None else complex(disc.x, disc.y)
    contents = {
        map_of(image, kind): layer(map, place(pixels)),
        sentence_of(image, kind): sentence(map, image.eye, middle).encode(),
    }
    for path, content in contents.items():
        write_bytes(folder / path, content, lasting=False)
    return tuple(contents)
