"""Finish revision 0013: logs go to their table, the key of turns begins with the owner, and
Postgres partitions the ledger by day.

An existing database gets this revision only with `--finish`, because the release before 0013 does
not find the logs of later turns.
"""

from datetime import timedelta

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"

_COLUMNS = (
    "owner, day, model, purpose, calls, input_tokens, output_tokens, cached_input_tokens, "
    "reasoning_tokens, estimated_tokens, unpriced_tokens, cost"
)


_KEY = "CONSTRAINT usage_days_key PRIMARY KEY (owner, day, model, purpose)"


def upgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("ALTER TABLE turns DROP CONSTRAINT turns_key")
    op.execute("ALTER TABLE turns ADD CONSTRAINT turns_key PRIMARY KEY USING INDEX turns_owner_id")
    _set_ledger_aside()
    op.execute(f"CREATE TABLE usage_days (LIKE usage_days_before, {_KEY}) PARTITION BY RANGE (day)")
    op.execute("CREATE TABLE usage_days_rest PARTITION OF usage_days DEFAULT")
    for day in op.get_bind().scalars(sa.text("SELECT DISTINCT day FROM usage_days_before")).all():
        op.execute(
            f"CREATE TABLE usage_days_{day:%Y%m%d} PARTITION OF usage_days "
            f"FOR VALUES FROM ('{day}') TO ('{day + timedelta(days=1)}')"
        )
    _fill_ledger()


def downgrade() -> None:
    if op.get_bind().dialect.name != "postgresql":
        return
    op.execute("ALTER TABLE turns DROP CONSTRAINT turns_key")
    op.create_primary_key("turns_key", "turns", ["id"])
    op.create_index("turns_owner_id", "turns", ["owner", "id"], unique=True)
    _set_ledger_aside()
    op.execute(f"CREATE TABLE usage_days (LIKE usage_days_before, {_KEY})")
    _fill_ledger()


def _set_ledger_aside() -> None:
    op.execute("ALTER TABLE usage_days RENAME TO usage_days_before")
    op.execute("ALTER TABLE usage_days_before DROP CONSTRAINT usage_days_key")
    op.drop_index("usage_days_day", "usage_days_before")


def _fill_ledger() -> None:
    op.execute(
        f"INSERT INTO usage_days ({_COLUMNS}) SELECT {_COLUMNS} FROM usage_days_before"  # noqa: S608 - constants
    )
    op.execute("DROP TABLE usage_days_before")
    op.create_index("usage_days_day", "usage_days", ["day"])
