"""Backup of a database and its files in one archive, to restore into SQLite or PostgreSQL.

A zip of a JSON Lines file for each table, and of the images; `backup.json` has the SHA-256 of each.
"""

import hashlib
import json
import shutil
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, DateTime, MetaData, Table, insert, inspect, select

from teledx_fed.core.errors import ConfigurationError, IntegrityError
from teledx_fed.core.files import replacing
from teledx_fed.store.database import Database
from teledx_fed.store.encryption import encrypting, opened, recipients_of
from teledx_fed.store.schema import Schema, revision, upgrade
from teledx_fed.store.values import check_path

FORMAT = 1
MANIFEST = "backup.json"
PASSING = frozenset({"sessions", "uploads", "retention"})
"""Tables with temporary data, which a backup omits."""


@dataclass(frozen=True)
class BackupManifest:
    """Contents of a backup. `tables`, `files`: SHA-256 by name; tables in the order of their foreign keys."""

    format: int
    schema: str
    revision: str
    tables: Mapping[str, str]
    files: Mapping[str, str]


MANIFESTS = TypeAdapter(BackupManifest)


def write(
    path: Path, database: Database, schema: Schema, folder: Path | None, recipients: Sequence[str] = ()
) -> tuple[str, ...]:
    """Write a backup, encrypted if there are `recipients`; return paths in the database without a file."""
    keys = recipients_of(recipients)
    with (
        replacing(path) as file,
        encrypting(file, keys) if keys else nullcontext(file) as target,
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive,
        database.reading() as session,
    ):
        connection = session.connection()
        tables, files, missing = dict[str, str](), dict[str, str](), list[str]()
        for table in _tables(connection, schema):
            lines = _lines(connection, table)
            tables[table.name] = _write(archive, f"tables/{table.name}.jsonl", lines, zipfile.ZIP_DEFLATED)
        for name, file_path in _files(connection, schema, folder).items():
            try:
                with file_path.open("rb") as content:
                    files[name] = _write(archive, f"files/{name}", _pieces(content), zipfile.ZIP_STORED)
            except FileNotFoundError:
                missing.append(name)
        manifest = BackupManifest(FORMAT, schema.name, str(revision(connection, schema)), tables, files)
        archive.writestr(MANIFEST, MANIFESTS.dump_json(manifest, indent=1))
    return tuple(missing)


def load(path: Path, url: str, schema: Schema, folder: Path | None, key: Path | None, scratch: Path) -> None:
    """Restore a backup: verify the whole archive, then write the files, then the rows.

    An encrypted backup is decrypted with `key` into an unnamed temporary file in `scratch`.
    """
    if folder is not None and folder.exists() and any(folder.iterdir()):
        raise ConfigurationError(f"{folder} must be empty, got files in it. Restore into another folder.")
    try:
        with opened(path, key, scratch) as file, zipfile.ZipFile(file) as archive:
            manifest = _verified(archive, schema)
            with closing(Database(url)) as database, database.connection() as connection:
                _check_empty(connection)
                if folder is not None:
                    _extract(archive, manifest, folder)
                _fill(connection, schema, archive, manifest)
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValidationError) as error:
        raise IntegrityError(f"{path} must be a whole backup, got {error}. Take another copy.") from error


def _extract(archive: zipfile.ZipFile, manifest: BackupManifest, folder: Path) -> None:
    for name in manifest.files:
        with archive.open(f"files/{name}") as content, replacing(folder / name) as file:
            shutil.copyfileobj(content, file)


def _check_empty(connection: Connection) -> None:
    if tables := inspect(connection).get_table_names():
        raise ConfigurationError(f"the database must be empty, got a table {min(tables)}. Restore into another.")


def _fill(connection: Connection, schema: Schema, archive: zipfile.ZipFile, manifest: BackupManifest) -> None:
    upgrade(connection, schema, manifest.revision)
    tables = {table.name: table for table in _tables(connection, schema)}
    for name in manifest.tables:
        with archive.open(f"tables/{name}.jsonl") as lines:
            rows = (_row(tables[name], json.loads(line), connection.dialect.name) for line in lines)
            while several := list(islice(rows, 500)):
                connection.execute(insert(tables[name]), several)
    upgrade(connection, schema)


def _tables(connection: Connection, schema: Schema) -> list[Table]:
    """Return the tables that this database has, at its own version."""
    metadata = MetaData()
    metadata.reflect(connection)
    return [table for table in metadata.sorted_tables if table.name not in PASSING | {schema.version_table}]


def _files(connection: Connection, schema: Schema, folder: Path | None) -> dict[str, Path]:
    if folder is None:
        return {}
    tables = (table for table in _tables(connection, schema) if "path" in table.columns)
    return {path: folder / path for table in tables for path in connection.scalars(select(table.c.path))}


def _lines(connection: Connection, table: Table) -> Iterator[bytes]:
    for row in connection.execute(select(table).order_by(*table.primary_key)).mappings():
        yield json.dumps({name: _plain(value) for name, value in row.items()}).encode() + b"\n"


def _plain(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    return (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)).isoformat()


def _row(table: Table, plain: dict[str, Any], dialect: str) -> dict[str, Any]:
    return {name: _time(value, dialect) if _is_time(table, name, value) else value for name, value in plain.items()}


def _is_time(table: Table, name: str, value: Any) -> bool:
    return value is not None and isinstance(table.c[name].type, DateTime)


def _time(text: str, dialect: str) -> datetime:
    time = datetime.fromisoformat(text)
    return time.replace(tzinfo=None) if dialect == "sqlite" else time


def _write(archive: zipfile.ZipFile, name: str, pieces: Iterable[bytes], compression: int) -> str:
    digest, entry = hashlib.sha256(), zipfile.ZipInfo(name)
    entry.compress_type = compression
    with archive.open(entry, "w", force_zip64=True) as file:
        for piece in pieces:
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(1 << 20):
        yield piece


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in _pieces(file):
        digest.update(piece)
    return digest.hexdigest()


def _verified(archive: zipfile.ZipFile, schema: Schema) -> BackupManifest:
    manifest = MANIFESTS.validate_json(archive.read(MANIFEST))
    if (manifest.format, manifest.schema) != (FORMAT, schema.name):
        other = f"format {manifest.format} of {manifest.schema}"
        raise IntegrityError(f"the backup must be of format {FORMAT} and of {schema.name}, got {other}. Take another.")
    for name in manifest.files:
        check_path("the backup's file", name)
    members = {f"tables/{name}.jsonl": digest for name, digest in manifest.tables.items()}
    for name, digest in (members | {f"files/{name}": digest for name, digest in manifest.files.items()}).items():
        with archive.open(name) as content:
            if _digest(content) != digest:
                raise IntegrityError(f"{name} must be as it was backed up, got other content. Take another copy.")
    return manifest
