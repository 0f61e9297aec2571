"""Give sessions a title, and indexes by owner and last use.

It follows 0013, so that a database has it before and after revision 0014, which is applied with
`--finish` only. Revision 0016 joins the two.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("title", sa.Text))
    # The operator of a large table may have made them before, without a lock.
    for name, last_use, condition in (
        ("sessions_last_used", "last_turn_at", "last_turn_at IS NOT NULL"),
        ("sessions_unused", "created_at", "last_turn_at IS NULL"),
    ):
        op.create_index(
            name,
            "sessions",
            ["owner", last_use, "id"],
            if_not_exists=True,
            sqlite_where=sa.text(condition),
            postgresql_where=sa.text(condition),
        )


def downgrade() -> None:
    op.drop_index("sessions_unused", "sessions")
    op.drop_index("sessions_last_used", "sessions")
    op.drop_column("sessions", "title")
