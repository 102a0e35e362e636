from collections.abc import Mapping
from pathlib import Path

from PIL import Image

from teledx_fed.config.data import SourceSettings
from teledx_fed.core.examples import Collection, Eye, SetAsideReason
from teledx_fed.data.layouts import read

L, R, U = Eye.LEFT, Eye.RIGHT, Eye.UNKNOWN


def table(path: Path, text: str, encoding: str = "utf-8") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))


def photographs(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), "brown").save(path)


def read_whole(layout: str, root: Path, grading: Mapping[str, int] = {}) -> Collection:
    collection, problems = read("ward", SourceSettings(layout, str(root), dict(grading)))
    assert problems == ()
    return collection


def files(collection: Collection, root: Path) -> list[tuple[str, int, str]]:
    """Return path, grade and patient of each photograph."""
    return [(e.image.name.removeprefix(f"{root}/"), e.grade, e.patient) for e in collection.examples]


def eyes(collection: Collection) -> list[Eye]:
    return [example.eye for example in collection.examples]


def oedema(collection: Collection) -> list[bool | None]:
    return [example.oedema for example in collection.examples]


def set_aside(collection: Collection, root: Path) -> list[tuple[str, SetAsideReason]]:
    return [(image.name.removeprefix(f"{root}/"), image.reason) for image in collection.set_aside]
