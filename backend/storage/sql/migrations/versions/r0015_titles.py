"""Give sessions a title, and an index by owner and last use.

It follows 0013, so that a database has it before and after revision 0014, which is applied with
`--finish` only. Revision 0016 joins the two.
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("title", sa.Text))
    # The operator of a large table may have made it before, without a lock.
    op.create_index(
        "sessions_last_used",
        "sessions",
        ["owner", sa.text("coalesce(last_turn_at, created_at)"), "id"],
        if_not_exists=True,
    )


def downgrade() -> None:
    op.drop_index("sessions_last_used", "sessions")
    op.drop_column("sessions", "title")
