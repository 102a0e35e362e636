"""Count the attempts to send photographs with a link."""

import sqlalchemy as sa
from alembic import op

revision = "site_0004"
down_revision = "site_0003"


def upgrade() -> None:
    op.add_column("links", sa.Column("attempts", sa.BigInteger(), nullable=False, server_default="0"))
