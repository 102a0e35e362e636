"""A connection to SQLite or PostgreSQL, brought to this version's tables, and transactions on it."""

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
"""What a database raises that is busy, gone or full."""
BUSY_SECONDS = 30
POOL = {"pool_size": 10, "max_overflow": 20}
SQLITE, POSTGRESQL = "sqlite", "postgresql"


class Database:
    """`ValueError` where it cannot be reached. A session belongs to one thread; a database serves many.

    Writers to SQLite queue here: waiting for each other's lock on the file, they would sleep and look again.
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
        """A `ValueError` where a newer version wrote it."""
        try:
            with self.connection() as connection:
                upgrade(connection, schema)
        except TeledxError:
            self.close()
            raise

    @property
    def answers(self) -> bool:
        try:
            with self.engine.connect() as connection:
                connection.exec_driver_sql("SELECT 1")
        except DatabaseError:
            return False
        return True

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """One state of the database, whatever others write meanwhile."""
        with Session(self.engine) as session, session.begin():
            if self.is_postgresql:
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """All of the block's changes, or none."""
        with self._queue, Session(self._for_writing) as session, session.begin():
            yield session

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """For writing, as `writing`."""
        with self._queue, self._for_writing.begin() as connection:
            yield connection

    @property
    def is_postgresql(self) -> bool:
        return self.url.get_backend_name() == POSTGRESQL

    def close(self) -> None:
        self.engine.dispose()


def insert_once(session: Session, row: type[DeclarativeBase], **values: Any) -> bool:
    """Whether this was the first: not where a row with one of its unique values is there, or another is writing it."""
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
    path.touch(mode=0o600)  # its journals take over the mode
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, **POOL)
    event.listen(engine, "connect", _prepare)
    event.listen(engine, "begin", _begin)
    return engine


def _prepare(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # or else the driver begins transactions when it sees fit
    for pragma in ("journal_mode=WAL", "foreign_keys=ON", "synchronous=FULL", "recursive_triggers=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    """A writer queues at its start: one that began by reading would be refused for good when it writes."""
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
