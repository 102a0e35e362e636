"""Write files that are complete or absent, even after a crash or with other writers, and private to their owner."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from socket import gethostname
from typing import Any, BinaryIO, TextIO
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from teledx_fed.core.errors import RefusedError

LOCK = ".lock"
"""Lock file in a run's folder while a process writes there."""


def make_folder(path: Path) -> Path:
    """Make the folder and its missing parents, private to their owner: any of them may hold patients' names."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextmanager
def replacing(path: Path, lasting: bool = True) -> Iterator[BinaryIO]:
    """Yield a private file that replaces `path` if the block ends without an error.

    Without `lasting`, a power failure may cut it short: use this for content with a checksum that can be made again.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with open(temporary, "xb", opener=_private) as file:
            yield file
            if lasting:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path`, and remove it at the end. Raise a `RefusedError` that names another holder.

    The operating system releases the lock when the process ends, also by a crash. On NFS (Linux, version 4, or 3 with
    lockd) the lock works between machines. A file system without locks raises an `OSError`.
    """
    make_folder(path.parent)
    with _locked(path) as file:
        file.write(f"process {os.getpid()} on {gethostname()} since {datetime.now().astimezone():%Y-%m-%d %H:%M:%S %z}")
        file.flush()
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _locked(path: Path) -> TextIO:
    """Return the locked, empty file. Try again if its last holder has just removed it."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            with file:
                file.seek(0)
                holder = file.read() or "a process that has just started"
            raise RefusedError(
                f"{path.parent} must be free, got one in use by {holder}. Wait until it ends, or stop it."
            ) from error
        except OSError:
            file.close()
            raise
        if path.exists() and os.path.samestat(os.fstat(file.fileno()), path.stat()):
            file.truncate(0)
            return file
        file.close()


def write_bytes(path: Path, content: bytes, lasting: bool = True) -> None:
    """Replace a file by `content`, whole or not at all; see `replacing`."""
    with replacing(path, lasting) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Replace a text file, in UTF-8."""
    write_bytes(path, content.encode())


def append_private(path: Path, text: str) -> Path:
    """Append to a file that its owner alone can read, and return its path. Never follow a symbolic link."""
    with open(path, "a", encoding="utf-8", opener=lambda name, flags: _private(name, flags | os.O_NOFOLLOW)) as file:
        file.write(text)
    return path


def write_array(path: Path, array: NDArray[Any]) -> None:
    """Replace a `.npy` file, without pickle."""
    with replacing(path) as file:
        np.save(file, array, allow_pickle=False)
