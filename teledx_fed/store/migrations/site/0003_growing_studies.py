"""Add the instance of photographs, so that studies can grow, and the table of refusals."""

import sqlalchemy as sa
from alembic import op

revision = "site_0003"
down_revision = "site_0002"


def upgrade() -> None:
    with op.batch_alter_table("images") as images:
        images.add_column(sa.Column("instance", sa.String(64)))
        images.create_unique_constraint(op.f("uq_images_study_instance"), ["study", "instance"])
    op.create_table(
        "refusals",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("patient", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("first", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last", sa.DateTime(timezone=True), nullable=False, index=True),
        sa.Column("times", sa.BigInteger(), nullable=False),
        sa.Column("settled", sa.DateTime(timezone=True)),
        sa.Column("settled_by", sa.Text()),
    )
