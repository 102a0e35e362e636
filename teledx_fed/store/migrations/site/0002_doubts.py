"""Add doubts about a photograph's eye or patient, and an index to find the same photograph again."""

import sqlalchemy as sa
from alembic import op

revision = "site_0002"
down_revision = "site_0001"


def upgrade() -> None:
    op.add_column("images", sa.Column("doubts", sa.Text(), nullable=False, server_default="[]"))
    op.create_index("ix_images_digest", "images", ["digest"])
