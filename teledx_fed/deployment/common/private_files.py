"""Files that hold keys: overwritten only with `replace`, and never readable by more users than their mode allows."""

import os
from pathlib import Path
from uuid import uuid4

from teledx_fed.core.errors import ConfigurationError
from teledx_fed.core.files import make_folder

PRIVATE, PUBLIC, PRIVATE_FOLDER = 0o600, 0o644, 0o700


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            f"{path} must be readable, got: {error.strerror}. Check the path and its permissions."
        ) from error


def all_new(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            raise _taken(path)


def _taken(path: Path) -> ConfigurationError:
    return ConfigurationError(f"{path} must be new, got an existing file. No file is overwritten: move it away first.")


def write(path: Path, content: bytes, mode: int = PRIVATE, replace: bool = False) -> None:
    """Write a file atomically with permissions `mode`. A `ConfigurationError` if it exists and `replace` is False."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if replace:
            temporary.replace(path)
        else:
            path.hardlink_to(temporary)
    except FileExistsError as error:
        raise _taken(path) from error
    finally:
        temporary.unlink(missing_ok=True)
