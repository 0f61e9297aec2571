"""Store a turn's side effects in a journal that outlives the worker, and the turn of a booking."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("turns", sa.Column("journal", sa.JSON))
    op.add_column("appointments", sa.Column("turn_id", sa.Text))


def downgrade() -> None:
    op.drop_column("appointments", "turn_id")
    op.drop_column("turns", "journal")
