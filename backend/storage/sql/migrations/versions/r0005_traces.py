"""Store the span of a turn, so that requests on other workers can link to it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("turns", sa.Column("traceparent", sa.Text))


def downgrade() -> None:
    op.drop_column("turns", "traceparent")
