"""Count what clients use of their budgets."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "budget_windows",
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("began_at", sa.BigInteger, nullable=False),
        sa.Column("ends_at", sa.BigInteger, nullable=False),
        sa.Column("used", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key", "began_at", name="budget_windows_key"),
    )
    op.create_index("budget_windows_ends_at", "budget_windows", ["ends_at"])
    op.create_table(
        "budget_reservations",
        sa.Column("turn_id", sa.Text, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("turn_id", "key", name="budget_reservations_key"),
    )
    op.create_index("budget_reservations_of_key", "budget_reservations", ["key"])


def downgrade() -> None:
    op.drop_table("budget_reservations")
    op.drop_table("budget_windows")
