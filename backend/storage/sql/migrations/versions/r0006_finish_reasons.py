"""Why the last completion of a turn finished, so that a history can tell an answer that was cut."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("turns", sa.Column("finish_reason", sa.Text))


def downgrade() -> None:
    op.drop_column("turns", "finish_reason")
