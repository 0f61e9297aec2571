"""Share doubts about the database's clock with all workers."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "clock_doubts",
        sa.Column("began_at", sa.Float, nullable=False),
        sa.Column("ends_at", sa.Float, nullable=False),
        sa.Column("jump_seconds", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("began_at", name="clock_doubts_key"),
    )


def downgrade() -> None:
    op.drop_table("clock_doubts")
