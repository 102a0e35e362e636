"""Files that are whole or absent, whatever dies and whoever else writes, and their owner's alone."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray


def make_folder(path: Path) -> Path:
    """Make the folder and what is missing above it, each for its owner alone: any of them may hold patients' names."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextmanager
def replacing(path: Path, lasting: bool = True) -> Iterator[BinaryIO]:
    """Write to the yielded file, its owner's alone; when the block ends well, and only then, it replaces `path`.

    Not `lasting`, it may be cut short should the power fail: for what carries a checksum and can be made again.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Only one process at a time; a dead one's hold is gone with it. A `ValueError` where another is at it."""
    make_folder(path.parent)
    with path.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(f"{path.parent} must be free, got one in use. Stop what works in it.") from error
        yield


def write_bytes(path: Path, content: bytes, lasting: bool = True) -> None:
    with replacing(path, lasting) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    write_bytes(path, content.encode())


def write_array(path: Path, array: NDArray[Any]) -> None:
    with replacing(path) as file:
        np.save(file, array, allow_pickle=False)
