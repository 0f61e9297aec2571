"""Store the finish reason of a turn's last completion: the history can mark a truncated answer."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("turns", sa.Column("finish_reason", sa.Text))


def downgrade() -> None:
    op.drop_column("turns", "finish_reason")
