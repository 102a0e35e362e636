"""Migrations: the store upgrades a database of any older version, and refuses one of a newer version."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from time import monotonic, sleep

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from teledx_fed.store.database import Database
from teledx_fed.store.schema import IDENTIFIED, SITE, Schema
from teledx_fed.store.store import Store

SCHEMAS = pytest.mark.parametrize("schema", [SITE, IDENTIFIED], ids=lambda schema: schema.name)


@SCHEMAS
def test_the_migrations_make_the_tables_that_the_store_uses(database_url: str, schema: Schema) -> None:
    with closing(Database(database_url)) as database:
        database.upgrade(schema)
        with database.connection() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": schema.version_table})
            assert compare_metadata(context, schema.metadata) == []
            tables = set(sa.inspect(connection).get_table_names())
    assert tables == {*schema.metadata.tables, schema.version_table}


@SCHEMAS
def test_a_column_that_the_migrations_lack_is_detected(database_url: str, schema: Schema) -> None:
    with closing(Database(database_url)) as database:
        database.upgrade(schema)
        with database.connection() as connection:
            table = next(iter(schema.metadata.tables))
            connection.execute(sa.text(f"ALTER TABLE {table} ADD COLUMN more TEXT"))
            context = MigrationContext.configure(connection, opts={"version_table": schema.version_table})
            assert [difference[0] for difference in compare_metadata(context, schema.metadata)] == ["remove_column"]


@SCHEMAS
def test_a_newer_database_is_refused_and_not_changed(database_url: str, schema: Schema) -> None:
    with closing(Database(database_url)) as database:
        database.upgrade(schema)
        with database.connection() as connection:
            connection.execute(sa.text(f"UPDATE {schema.version_table} SET version_num = 'of_tomorrow'"))
        with pytest.raises(ValueError, match=r"of this version or an older one, got \w+ of_tomorrow"):
            database.upgrade(schema)
        with database.connection() as connection:
            assert connection.scalar(sa.text(f"SELECT version_num FROM {schema.version_table}")) == "of_tomorrow"


def test_several_may_open_an_empty_database_at_once(database_url: str, tmp_path: Path) -> None:
    def opened(_: int) -> None:
        Store(database_url, tmp_path / "images").close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(opened, range(6)))


@pytest.mark.slow
def test_threads_can_create_databases_concurrently(tmp_path: Path) -> None:
    def made(number: int) -> None:
        Store(f"sqlite:///{tmp_path}/{number}/site.sqlite", tmp_path / str(number)).close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(made, range(12)))


def test_both_stores_may_share_a_postgresql_database(database_url: str) -> None:
    with closing(Database(database_url)) as database:
        for schema in (SITE, IDENTIFIED, SITE, IDENTIFIED):
            database.upgrade(schema)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("no url", "must be a database URL"),
        ("sqlite://", "must be sqlite:///FILE or postgresql"),
        ("sqlite:///:memory:", "must be sqlite:///FILE or postgresql"),
        ("mysql://db/x", "must be sqlite:///FILE or postgresql"),
        ("postgresql://anna:secret@/x?host=/nowhere", "must lead to a database"),
    ],
)
def test_an_unreachable_database_is_named_without_its_password(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        Database(url)
    assert "secret" not in str(refused.value)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "site.sqlite").write_bytes(b"no database" * 500)
    with pytest.raises(ValueError, match="must lead to a database"):
        Database(f"sqlite:///{tmp_path}/site.sqlite")


def test_the_database_file_is_readable_only_by_its_owner(tmp_path: Path) -> None:
    Store(f"sqlite:///{tmp_path}/new/site.sqlite", tmp_path / "new/images").close()
    assert (tmp_path / "new/site.sqlite").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


@pytest.mark.slow
def test_a_store_leaves_no_connection_behind(postgresql: Callable[[], str], tmp_path: Path) -> None:
    url = postgresql()
    for _ in range(3):
        Store(url, tmp_path).close()
    clients = "datname = current_database() AND backend_type = 'client backend'"
    left, until = 0, monotonic() + 60
    while left != 1 and monotonic() < until:  # a backend ends some time after its client
        with closing(Database(url)) as database, database.connection() as connection:
            left = connection.scalar(sa.text(f"SELECT count(*) FROM pg_stat_activity WHERE {clients}"))
        sleep(0.1)
    assert left == 1
