"""Track the sessions that need a summary. Existing ones get a summary after their next turn."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_COLUMNS = (
    ("untold_since", sa.Float),
    ("summary_claim", sa.Text),
    ("summary_not_before", sa.Float),
    ("summary_failures", sa.Integer),
)


def upgrade() -> None:
    for name, kind in _COLUMNS:
        op.add_column("sessions", sa.Column(name, kind))
    is_untold = sa.text("untold_since IS NOT NULL")
    op.create_index(
        "sessions_untold",
        "sessions",
        ["untold_since"],
        sqlite_where=is_untold,
        postgresql_where=is_untold,
    )


def downgrade() -> None:
    op.drop_index("sessions_untold", "sessions")
    # Not as a batch: SQLite would copy the table and drop the old one, and the foreign keys would
    # cascade to all turns and messages.
    for name, _ in reversed(_COLUMNS):
        op.drop_column("sessions", name)
