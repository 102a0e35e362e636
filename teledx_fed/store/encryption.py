"""Encryption of files for the holder of a key, in the age format (age-encryption.org/v1, X25519)."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO

import pyrage

from teledx_fed.core.errors import ConfigurationError, DataError, IntegrityError
from teledx_fed.core.files import make_folder, write_text

BEGINNING = b"age-encryption.org/"


def new_key(file: Path) -> str:
    """Write a key in `age-keygen`'s format, and return its recipient: the public key for encryption."""
    if file.exists():
        raise ConfigurationError(f"{file} must be new, got a file that is there. Name another.")
    identity = pyrage.x25519.Identity.generate()
    recipient = str(identity.to_public())
    write_text(file, f"# public key: {recipient}\n{identity}\n")
    return recipient


def recipients_of(texts: Sequence[str]) -> list[Any]:
    try:
        return [pyrage.x25519.Recipient.from_str(text) for text in texts]
    except pyrage.RecipientError as error:
        raise ConfigurationError(
            f"--recipient must be one that backup-key printed (age1…), got {texts}. Copy it."
        ) from error


@contextmanager
def encrypting(file: BinaryIO, recipients: Sequence[Any]) -> Iterator[BinaryIO]:
    """Yield a pipe whose content goes encrypted into `file`; no plain text is written to the disk."""
    read_end, write_end = os.pipe()

    def encrypt() -> None:
        with os.fdopen(read_end, "rb") as source:  # must close on errors, or the writer blocks forever
            try:
                pyrage.encrypt_io(source, file, recipients)
            except pyrage.EncryptError as error:
                raise OSError(f"the encrypted file cannot be written: {error}") from error

    with ThreadPoolExecutor(1) as pool:
        encrypted = pool.submit(encrypt)
        try:
            with os.fdopen(write_end, "wb") as pipe:
                yield pipe
        except BrokenPipeError:
            encrypted.result()
            raise
        encrypted.result()


@contextmanager
def opened(path: Path, key: Path | None, scratch: Path) -> Iterator[BinaryIO]:
    """Yield a backup's plain content. `IntegrityError`: wrong key or changed bytes; `DataError`: key and file disagree.

    Decrypt, and so verify, the whole file before yielding it: into an unnamed temporary file in `scratch`.
    """
    with path.open("rb") as file:
        is_encrypted = file.read(len(BEGINNING)) == BEGINNING
        file.seek(0)
        if is_encrypted != (key is not None):
            other, remedy = (
                ("an encrypted one", "Name its key.") if is_encrypted else ("a plain one", "Leave --key out.")
            )
            raise DataError(f"{path} must be {'plain' if key is None else 'encrypted'}, got {other}. {remedy}")
        if key is None:
            yield file
            return
        with TemporaryFile(dir=make_folder(scratch)) as plain:
            _decrypt(path, file, plain, key)
            plain.seek(0)
            yield plain


def _decrypt(path: Path, file: BinaryIO, plain: Any, key: Path) -> None:
    try:
        pyrage.decrypt_io(file, plain, _identities(key))
    except (pyrage.DecryptError, OSError) as error:
        raise IntegrityError(
            f"{path} must be whole and encrypted for the key {key}, got: {error}. Take another copy, or another key."
        ) from error


def _identities(key: Path) -> list[Any]:
    try:
        lines = [line.strip() for line in key.read_text().splitlines()]
        identities = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except (OSError, UnicodeDecodeError, pyrage.IdentityError) as error:
        raise ConfigurationError(
            f"--key must be a file that backup-key wrote, got {key}: {error}. Name another."
        ) from error
    if not identities:
        raise ConfigurationError(f"--key must be a file that backup-key wrote, got {key} without a key. Name another.")
    return identities
