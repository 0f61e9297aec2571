"""Give logs a table of their own, which Postgres partitions by day, and turns a key by owner.

The release before this one works on, so nothing writes to the table until revision 0014.
"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.create_table(
        "turn_logs",
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("turn_id", sa.Text, nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("log", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("owner", "turn_id", "finished_at", name="turn_logs_key"),
        postgresql_partition_by="RANGE (finished_at)",
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE TABLE turn_logs_rest PARTITION OF turn_logs DEFAULT")
        # The operator of a large table may have made it before, without a lock.
        op.create_index("turns_owner_id", "turns", ["owner", "id"], unique=True, if_not_exists=True)


def downgrade() -> None:
    op.execute(
        "UPDATE turns SET log = (SELECT turn_logs.log FROM turn_logs "
        "WHERE turn_logs.owner = turns.owner AND turn_logs.turn_id = turns.id) "
        "WHERE EXISTS (SELECT 1 FROM turn_logs "
        "WHERE turn_logs.owner = turns.owner AND turn_logs.turn_id = turns.id)"
    )
    if op.get_bind().dialect.name == "postgresql":
        op.drop_index("turns_owner_id", "turns")
    op.drop_table("turn_logs")
