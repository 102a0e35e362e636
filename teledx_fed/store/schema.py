"""Schema versions of the databases, and their upgrade."""

from dataclasses import dataclass
from pathlib import Path
from threading import Lock

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, MetaData, text

from teledx_fed.core.errors import IntegrityError
from teledx_fed.store.identified_tables import IdentifiedTable
from teledx_fed.store.tables import SiteTable

MIGRATIONS = Path(__file__).parent / "migrations"
UPGRADING = 5_332_001
"""Key of the PostgreSQL advisory lock during an upgrade."""
ALEMBIC = Lock()
"""Alembic's environment is global to the process: only one thread upgrades at a time."""


@dataclass(frozen=True)
class Schema:
    """A schema; `name` is the folder of its migrations."""

    name: str
    metadata: MetaData

    @property
    def version_table(self) -> str:
        return f"{self.name}_version"


SITE = Schema("site", SiteTable.metadata)
IDENTIFIED = Schema("identified", IdentifiedTable.metadata)


def upgrade(connection: Connection, schema: Schema, to: str = "head") -> None:
    """Upgrade the tables in the connection's transaction; raise an `IntegrityError` if they are newer."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": UPGRADING})
    config = _config(connection, schema)
    scripts = ScriptDirectory.from_config(config)
    revisions = {script.revision for script in scripts.walk_revisions()}
    current = revision(connection, schema)
    if not {current, to} <= revisions | {None, "head"}:
        raise IntegrityError(
            f"the database must be of this version or an older one, got {schema.name} {current or to}."
            " Install the version that wrote it, or a newer one."
        )
    if current != scripts.get_current_head():
        with ALEMBIC:
            command.upgrade(config, to)


def revision(connection: Connection, schema: Schema) -> str | None:
    """Return the version of a database, None if it is empty."""
    context = MigrationContext.configure(connection, opts={"version_table": schema.version_table})
    return context.get_current_revision()


def _config(connection: Connection, schema: Schema) -> Config:
    config = Config(attributes={"connection": connection, "schema": schema})
    for option, value in {
        "script_location": str(MIGRATIONS),
        "version_locations": str(MIGRATIONS / schema.name),
        "path_separator": "newline",
    }.items():
        config.set_main_option(option, value.replace("%", "%%"))
    return config
