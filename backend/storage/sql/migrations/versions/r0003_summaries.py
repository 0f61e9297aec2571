"""Which sessions have something new that no summary tells. Those of before wait for a turn."""

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
    with op.batch_alter_table("sessions") as sessions:
        for name, kind in _COLUMNS:
            sessions.add_column(sa.Column(name, kind))
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
    with op.batch_alter_table("sessions") as sessions:
        for name, _ in reversed(_COLUMNS):
            sessions.drop_column(name)
