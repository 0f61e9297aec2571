"""Keep each call of a model with its turn, and the sums by owner, day, model and purpose."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_SUMS = (
    "calls",
    "input_tokens",
    "output_tokens",
    "cached_input_tokens",
    "reasoning_tokens",
    "estimated_tokens",
    "unpriced_tokens",
    "cost",
)


def upgrade() -> None:
    op.add_column("sessions", sa.Column("spent", sa.JSON))
    op.add_column("turns", sa.Column("calls", sa.JSON))
    op.create_table(
        "usage_days",
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("purpose", sa.Text, nullable=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _SUMS),
        sa.PrimaryKeyConstraint("owner", "day", "model", "purpose", name="usage_days_key"),
    )
    op.create_index("usage_days_day", "usage_days", ["day"])


def downgrade() -> None:
    op.drop_index("usage_days_day", "usage_days")
    op.drop_table("usage_days")
    # Not as a batch: SQLite would copy the table and drop the old one, and the foreign keys would
    # cascade to all turns and messages.
    op.drop_column("turns", "calls")
    op.drop_column("sessions", "spent")
