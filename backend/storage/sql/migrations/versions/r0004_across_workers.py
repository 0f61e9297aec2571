"""What workers tell each other of their turns: who reads them, and who wants them to end."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("turns") as turns:
        turns.add_column(sa.Column("is_deserted", sa.Boolean))
        turns.add_column(sa.Column("followed_at", sa.Float))
        turns.add_column(sa.Column("stop_as", sa.Text))
        turns.drop_column("is_to_stop")


def downgrade() -> None:
    with op.batch_alter_table("turns") as turns:
        turns.add_column(sa.Column("is_to_stop", sa.Boolean))
        turns.drop_column("stop_as")
        turns.drop_column("followed_at")
        turns.drop_column("is_deserted")
