"""Maps of the regions that contribute to 'referable', stored beside their photograph."""

from enum import StrEnum
from pathlib import Path

from teledx_fed.core.files import write_bytes
from teledx_fed.data.maps import layer
from teledx_fed.data.preprocessing import place
from teledx_fed.diagnosis.heat_map import sentence
from teledx_fed.diagnosis.judgement import PhotographResult
from teledx_fed.store.values import StoredImage


class MapKind(StrEnum):
    """A kind of map. The clinic stores the heat map of each graded photograph, and others on request."""

    HEAT_MAP = "heat_map"
    INTEGRATED_GRADIENTS = "integrated_gradients"
    SHAP = "shap"


def map_of(image: StoredImage, kind: MapKind = MapKind.HEAT_MAP) -> str:
    """Return the path of the map: an image to lay over the photograph."""
    return f"{image.path.removesuffix('.png')}.{kind}.png"


def sentence_of(image: StoredImage, kind: MapKind = MapKind.HEAT_MAP) -> str:
    """Return the path of the sentence about the map."""
    return f"{image.path.removesuffix('.png')}.{kind}.txt"


def write_map(folder: Path, image: StoredImage, result: PhotographResult, kind: MapKind) -> tuple[str, ...]:
    """Write a photograph's map and its sentence; return their paths."""
    assert result.heat is not None
    assert result.pixels is not None
    middle = None if result.disc is None else complex(result.disc.x, result.disc.y)
    contents = {
        map_of(image, kind): layer(result.heat, place(result.pixels)),
        sentence_of(image, kind): sentence(result.heat, image.eye, middle).encode(),
    }
    for path, content in contents.items():
        write_bytes(folder / path, content, lasting=False)
    return tuple(contents)
