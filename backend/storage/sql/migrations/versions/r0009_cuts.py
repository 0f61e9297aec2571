"""Keep where the history of a session begins, and what stands for the part before it."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_COLUMNS = (
    ("history_start", sa.Integer),
    ("earlier_summary", sa.Text),
    ("earlier_until", sa.Integer),
    ("summary_until", sa.Integer),
    ("summary_wanted", sa.Boolean),
)


def upgrade() -> None:
    for name, kind in _COLUMNS:
        op.add_column("sessions", sa.Column(name, kind))
    # A summary that is not due again knows all messages.
    op.execute(
        "UPDATE sessions SET summary_until = messages "
        "WHERE summary IS NOT NULL AND untold_since IS NULL"
    )
    op.create_index("appointments_turn_id", "appointments", ["turn_id"])


def downgrade() -> None:
    op.drop_index("appointments_turn_id", "appointments")
    # Not as a batch: SQLite would copy the table and drop the old one, and the foreign keys would
    # cascade to all turns and messages.
    for name, _ in reversed(_COLUMNS):
        op.drop_column("sessions", name)
