"""What speaks against the eye of a photograph, or its patient, is kept with it; one that comes twice is found."""

import sqlalchemy as sa
from alembic import op

revision = "site_0002"
down_revision = "site_0001"


def upgrade() -> None:
    op.add_column("images", sa.Column("doubts", sa.Text(), nullable=False, server_default="[]"))
    op.create_index("ix_images_digest", "images", ["digest"])
