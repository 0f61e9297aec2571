"""Join 0014 and 0015: the schema of a database whose upgrade is finished. Changes nothing."""

revision = "0016"
down_revision = ("0014", "0015")


def upgrade() -> None:
    pass


def downgrade() -> None:
    pass
