"""Connection to SQLite or PostgreSQL, upgrade of its tables, and transactions."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, literal, make_url
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlalchemy.orm import DeclarativeBase, Session

from teledx_fed.core.errors import ConfigurationError, TeledxError
from teledx_fed.core.files import make_folder
from teledx_fed.store.schema import Schema, upgrade

StoreError = DatabaseError
"""A database raises this if it is busy, unreachable or full."""
BUSY_SECONDS = 30
POOL = {"pool_size": 10, "max_overflow": 20}
SQLITE, POSTGRESQL = "sqlite", "postgresql"


class Database:
    """A database; raise a `ConfigurationError` if it cannot be reached. Threads share it, but not its sessions.

    Writers to SQLite wait on a lock here, because SQLite itself waits for a locked file by sleeping and polling.
    """

    def __init__(self, url: str) -> None:
        self.url = _checked(url)
        self.engine = _sqlite(self.url) if self.url.get_backend_name() == SQLITE else _postgresql(self.url)
        self._for_writing = self.engine.execution_options(writes=True)
        self._queue = nullcontext() if self.is_postgresql else Lock()
        try:
            self.engine.connect().close()
        except DatabaseError as error:
            raise ConfigurationError(
                f"store.url must lead to a database, got {self.url}: {error.orig}. Start it, or name another."
            ) from error

    def upgrade(self, schema: Schema) -> None:
        """Upgrade the tables; raise an `IntegrityError` if a newer version wrote them."""
        try:
            with self.connection() as connection:
                upgrade(connection, schema)
        except TeledxError:
            self.close()
            raise

    @property
    def reachable(self) -> bool:
        try:
            with self.engine.connect() as connection:
                connection.exec_driver_sql("SELECT 1")
        except DatabaseError:
            return False
        return True

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """Open a session that reads one consistent state, also during writes by others."""
        with Session(self.engine) as session, session.begin():
            if self.is_postgresql:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Open a session for writing: the block's changes are all committed, or none."""
        with self._queue, Session(self._for_writing) as session, session.begin():
            yield session

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Open a connection for writing, in a transaction as in `writing`."""
        with self._queue, self._for_writing.begin() as connection:
            yield connection

    @property
    def is_postgresql(self) -> bool:
        return self.url.get_backend_name() == POSTGRESQL

    def close(self) -> None:
        self.engine.dispose()


def insert_once(session: Session, row: type[DeclarativeBase], **values: Any) -> bool:
    """Insert a row and return True; False if a row, perhaps one just being written, has one of its unique values."""
    insert = sqlite.insert if session.get_bind().dialect.name == SQLITE else postgresql.insert
    statement = insert(row).values(**values).on_conflict_do_nothing().returning(literal(1))
    return session.execute(statement).first() is not None


def _checked(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigurationError("store.url must be a database URL, got something else. Say sqlite:///FILE.") from error
    if parsed.drivername == POSTGRESQL:
        return parsed.set(drivername="postgresql+psycopg")
    is_file = parsed.drivername == SQLITE and parsed.database not in (None, "", ":memory:")
    if not (is_file or parsed.drivername == "postgresql+psycopg"):
        raise ConfigurationError(
            f"store.url must be sqlite:///FILE or postgresql://HOST/NAME, got {parsed}. Choose one of these."
        )
    return parsed


def _sqlite(url: URL) -> Engine:
    path = Path(str(url.database))
    make_folder(path.parent)
    path.touch(mode=0o600)  # SQLite creates its journals with the same mode
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, **POOL)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # the driver must not begin transactions by itself
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL", "recursive_triggers=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """Begin a transaction. A writer locks at its start: SQLite may refuse a write after a read."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _postgresql(url: URL) -> Engine:
    try:
        return create_engine(url, pool_pre_ping=True, **POOL)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "store.url must be sqlite:///FILE without PostgreSQL's driver, got postgresql."
            " Install teledx-fed[postgresql]."
        ) from error
