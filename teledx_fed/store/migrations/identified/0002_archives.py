"""Add the issuer of patient numbers, and the archive's identifiers of studies."""

import sqlalchemy as sa
from alembic import op

revision = "identified_0002"
down_revision = "identified_0001"


def upgrade() -> None:
    with op.batch_alter_table("identities") as identities:
        identities.add_column(sa.Column("issuer", sa.Text(), nullable=False, server_default=""))
        identities.drop_constraint("uq_identities_number", type_="unique")
        identities.create_unique_constraint(op.f("uq_identities_issuer_number"), ["issuer", "number"])
    op.create_table(
        "filings",
        sa.Column("study", sa.String(32), primary_key=True),
        sa.Column("filing", sa.Text(), nullable=False),
        sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
    )
    op.create_table(
        "sources",
        sa.Column("study", sa.String(32), sa.ForeignKey("filings.study"), primary_key=True),
        sa.Column("instance", sa.Text(), primary_key=True),
        sa.Column("series", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
    )
