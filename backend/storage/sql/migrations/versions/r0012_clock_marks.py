"""Tell a restarted service from a clock that has jumped."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "clock_marks",
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("uptime_seconds", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("at", name="clock_marks_key"),
    )


def downgrade() -> None:
    op.drop_table("clock_marks")
