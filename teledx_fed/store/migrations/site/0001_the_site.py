"""Create the first tables; triggers make suggestions, readings and views append-only.

The triggers allow the deletion of studies older than `before` in the single row of `retention`. The transaction that
deletes old studies inserts this row at its start and removes it at its end.
"""

import sqlalchemy as sa
from alembic import op

revision = "site_0001"
down_revision = None

APPEND_ONLY = ("suggestions", "readings", "views")
FORGETTING = "SELECT 1 FROM retention, studies WHERE studies.id = OLD.study AND studies.received < retention.before"


def upgrade() -> None:
    _who()
    _studies()
    _appended()
    for table in APPEND_ONLY:
        if op.get_bind().dialect.name == "sqlite":
            _guard_in_sqlite(table)
        else:
            _guard_in_postgresql(table)


def _who() -> None:
    op.create_table(
        "users",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("password", sa.Text()),
        sa.Column("disabled", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "sessions",
        sa.Column("token", sa.String(64), primary_key=True),
        sa.Column("csrf", sa.Text(), nullable=False),
        sa.Column("user", sa.Text(), sa.ForeignKey("users.name"), nullable=False, index=True),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "devices",
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("token", sa.String(64), nullable=False, unique=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "links",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("token", sa.String(64), nullable=False, unique=True),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("patient", sa.Text()),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used", sa.DateTime(timezone=True)),
    )


def _studies() -> None:
    op.create_table("patients", sa.Column("pseudonym", sa.Text(), primary_key=True))
    op.create_table(
        "studies",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("content", sa.String(64), nullable=False),
        sa.Column("patient", sa.Text(), sa.ForeignKey("patients.pseudonym"), index=True),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("acquired", sa.Text()),
        sa.Column("received", sa.DateTime(timezone=True), nullable=False, index=True),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("action", sa.String(32)),
        sa.UniqueConstraint("source", "key"),
    )
    op.create_index(op.f("ix_studies_status_received"), "studies", ["status", "received"])
    op.create_table(
        "images",
        sa.Column("study", sa.String(32), sa.ForeignKey("studies.id"), primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False, unique=True),
        sa.Column("width", sa.BigInteger(), nullable=False),
        sa.Column("height", sa.BigInteger(), nullable=False),
        sa.Column("eye", sa.String(32), nullable=False),
        sa.Column("field", sa.String(32), nullable=False),
        sa.Column("camera", sa.Text(), nullable=False),
        sa.Column("faults", sa.Text(), nullable=False),
        sa.UniqueConstraint("study", "digest"),
    )
    op.create_table(
        "derivatives",
        sa.Column("path", sa.Text(), primary_key=True),
        sa.Column("study", sa.String(32), sa.ForeignKey("studies.id"), nullable=False, index=True),
    )
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False, unique=True),
        sa.Column("length", sa.BigInteger(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "retention",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("before", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("id = 1", name="single"),
    )


def _appended() -> None:
    op.create_table(
        "suggestions",
        sa.Column("study", sa.String(32), sa.ForeignKey("studies.id"), primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("diagnosis", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("demonstration", sa.Boolean(), nullable=False),
    )
    op.create_table(
        "readings",
        sa.Column("study", sa.String(32), sa.ForeignKey("studies.id"), primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True),
        sa.Column("reader", sa.Text(), sa.ForeignKey("users.name"), nullable=False, index=True),
        sa.Column("reading", sa.Text(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("signed", sa.DateTime(timezone=True)),
    )
    op.create_table(
        "views",
        sa.Column("study", sa.String(32), sa.ForeignKey("studies.id"), primary_key=True),
        sa.Column("number", sa.BigInteger(), primary_key=True),
        sa.Column("user", sa.Text(), sa.ForeignKey("users.name"), nullable=False, index=True),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
    )


def _guard_in_sqlite(table: str) -> None:
    """Create triggers for update, delete and replace: INSERT OR REPLACE fires only the insert trigger."""
    refused = f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    op.execute(f"CREATE TRIGGER {table}_update BEFORE UPDATE ON {table} {refused}")
    op.execute(f"CREATE TRIGGER {table}_delete BEFORE DELETE ON {table} WHEN NOT EXISTS ({FORGETTING}) {refused}")
    same = f"SELECT 1 FROM {table} WHERE study = NEW.study AND number = NEW.number"
    op.execute(f"CREATE TRIGGER {table}_replace BEFORE INSERT ON {table} WHEN EXISTS ({same}) {refused}")


def _guard_in_postgresql(table: str) -> None:
    refused = f"RAISE EXCEPTION '{table} is append-only' USING ERRCODE = 'integrity_constraint_violation';"
    allowed = f"IF TG_OP = 'DELETE' THEN IF EXISTS ({FORGETTING}) THEN RETURN OLD; END IF; END IF;"
    body = f"BEGIN {allowed} {refused} END"
    op.execute(f"CREATE FUNCTION keep_{table}() RETURNS trigger LANGUAGE plpgsql AS $body$ {body} $body$")
    run = f"EXECUTE FUNCTION keep_{table}()"
    op.execute(f"CREATE TRIGGER {table}_change BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW {run}")
    op.execute(f"CREATE TRIGGER {table}_truncate BEFORE TRUNCATE ON {table} {run}")
