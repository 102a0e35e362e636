"""Create the table of identities behind pseudonyms."""

import sqlalchemy as sa
from alembic import op

revision = "identified_0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "identities",
        sa.Column("pseudonym", sa.Text(), primary_key=True),
        sa.Column("number", sa.Text(), nullable=False, unique=True),
        sa.Column("name", sa.Text()),
        sa.Column("born", sa.Text()),
        sa.Column("seen", sa.DateTime(timezone=True), nullable=False),
    )
