"""Fixtures: an empty database of each kind for each test."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from invented_studies import DATABASES, Clock

from teledx_fed.store.store import Store, open_store
from teledx_fed.store.values import Role


@pytest.fixture(scope="session")
def server() -> "Iterator[Server]":
    """A PostgreSQL server that listens only on a socket in its folder."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="teledx-pg-"))
    as_user, data = _unprivileged(folder), folder / "data"
    quiet = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
    initdb = [programs / "initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", data]
    subprocess.run([*as_user, *initdb], **quiet)
    options = f"-F -c listen_addresses='' -c unix_socket_directories='{folder}'"
    control = [*as_user, programs / "pg_ctl", "--pgdata", data, "--wait"]
    subprocess.run([*control, "--log", folder / "log", "--options", options, "start"], **quiet)
    yield Server(folder)
    subprocess.run([*control, "--mode", "immediate", "stop"], **quiet)
    shutil.rmtree(folder)


class Server:
    """A server that reuses databases: each has hundreds of files, so it is emptied for the next test."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.made, self.free = folder, 0, list[str]()

    def url(self, name: str) -> str:
        return f"postgresql://postgres@/{name}?host={self.folder}"

    def new(self) -> str:
        if self.free:
            return self.free.pop()
        self.made += 1
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE site{self.made}")
        return self.url(f"site{self.made}")

    def give_back(self, url: str) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        self.free.append(url)


@pytest.fixture
def postgresql(server: Server) -> Iterator[Callable[[], str]]:
    """A function that returns URLs of empty databases."""
    used = list[str]()

    def new() -> str:
        used.append(server.new())
        return used[-1]

    yield new
    for url in used:
        server.give_back(url)


def _programs() -> Path:
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    program = shutil.which("initdb") or (debian[-1] if debian else None)
    if program is None:
        pytest.skip("PostgreSQL is not installed (initdb is absent)")
    return Path(program).resolve().parent


def _unprivileged(folder: Path) -> list[str]:
    """Return a command prefix that drops root: PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return []
    try:
        shutil.chown(folder, "postgres", "postgres")
    except LookupError:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "postgresql":
        return str(request.getfixturevalue("postgresql")())
    return f"sqlite:///{tmp_path}/site.sqlite"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(database_url: str, tmp_path: Path, clock: Clock) -> Iterator[Store]:
    """A store with the reader anna."""
    opened = open_store(database_url, tmp_path, clock)
    opened.access.add_user("anna", Role.READER, "a hash")
    yield opened
    opened.close()
