"""Let workers tell each other which turns have followers and which should end."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("turns", sa.Column("is_deserted", sa.Boolean))
    op.add_column("turns", sa.Column("followed_at", sa.Float))
    op.add_column("turns", sa.Column("stop_as", sa.Text))
    op.drop_column("turns", "is_to_stop")


def downgrade() -> None:
    op.add_column("turns", sa.Column("is_to_stop", sa.Boolean))
    for name in ("stop_as", "followed_at", "is_deserted"):
        op.drop_column("turns", name)
