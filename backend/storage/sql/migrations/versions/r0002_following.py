"""Let any worker follow, stop and repeat a turn: idempotency keys, a stop flag, indexes."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("turns") as turns:
        turns.add_column(sa.Column("idempotency_key", sa.Text))
        turns.add_column(sa.Column("is_to_stop", sa.Boolean))
    _partial_index("turns_running", ["worker"], "outcome IS NULL")
    _partial_index(
        "turns_idempotency",
        ["owner", "session_id", "idempotency_key"],
        "idempotency_key IS NOT NULL",
        unique=True,
    )
    _partial_index("turns_with_log", ["finished_at"], "log IS NOT NULL")


def _partial_index(name: str, columns: list[str], condition: str, *, unique: bool = False) -> None:
    where = sa.text(condition)
    op.create_index(
        name, "turns", columns, unique=unique, sqlite_where=where, postgresql_where=where
    )


def downgrade() -> None:
    for name in ("turns_with_log", "turns_idempotency", "turns_running"):
        op.drop_index(name, "turns")
    with op.batch_alter_table("turns") as turns:
        turns.drop_column("is_to_stop")
        turns.drop_column("idempotency_key")
