"""Create the tables for sessions, turns, messages, workers, showroom, profiles and appointments."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_TIMESTAMP = sa.DateTime(timezone=True)
_JSON = sa.JSON()


def upgrade() -> None:
    _conversations()
    _showroom()
    _appointments()


def _conversations() -> None:
    op.create_table(
        "sessions",
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("created_at", _TIMESTAMP, nullable=False),
        sa.Column("last_turn_at", _TIMESTAMP),
        sa.Column("current_turn_id", sa.Text),
        sa.Column("turns", sa.Integer, nullable=False),
        sa.Column("messages", sa.Integer, nullable=False),
        sa.Column("input_tokens", sa.BigInteger, nullable=False),
        sa.Column("output_tokens", sa.BigInteger, nullable=False),
        sa.Column("characters_per_token", sa.Float, nullable=False),
        sa.Column("summary", sa.Text),
        sa.PrimaryKeyConstraint("owner", "id", name="sessions_key"),
    )
    op.create_table(
        "turns",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("worker", sa.Text, nullable=False),
        sa.Column("started_at", _TIMESTAMP, nullable=False),
        sa.Column("finished_at", _TIMESTAMP),
        sa.Column("outcome", sa.Text),
        sa.Column("error_code", sa.Text),
        sa.Column("model", sa.Text),
        sa.Column("rounds", sa.Integer, nullable=False),
        sa.Column("input_tokens", sa.Integer, nullable=False),
        sa.Column("output_tokens", sa.Integer, nullable=False),
        sa.Column("first_chunk_seconds", sa.Float),
        sa.Column("log", sa.LargeBinary),
        sa.PrimaryKeyConstraint("id", name="turns_key"),
        sa.UniqueConstraint(
            "owner", "session_id", "number", name="turns_owner_session_id_number_unique"
        ),
        _of_session("turns_sessions"),
    )
    op.create_table(
        "messages",
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("session_id", sa.Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("turn_id", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("tool_calls", _JSON),
        sa.Column("tool_call_id", sa.Text),
        sa.Column("tool_name", sa.Text),
        sa.Column("created_at", _TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("owner", "session_id", "position", name="messages_key"),
        _of_session("messages_sessions"),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("seen_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="workers_key"),
    )


def _of_session(name: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["owner", "session_id"],
        ["sessions.owner", "sessions.id"],
        name=name,
        ondelete="CASCADE",
    )


def _showroom() -> None:
    op.create_table(
        "dealerships",
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("address", sa.Text, nullable=False),
        sa.Column("phone", sa.Text, nullable=False),
        sa.Column("time_zone", sa.Text, nullable=False),
        sa.Column("hours", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name="dealerships_key"),
    )
    op.create_table(
        "car_models",
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("place", sa.Integer, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("name", name="car_models_key"),
    )
    op.create_table(
        "profiles",
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("preferred_dealership_id", sa.Text),
        sa.PrimaryKeyConstraint("user_id", name="profiles_key"),
    )


def _appointments() -> None:
    op.create_table(
        "appointments",
        sa.Column("confirmation_id", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text, nullable=False),
        sa.Column("dealership_id", sa.Text, nullable=False),
        sa.Column("date", sa.Date, nullable=False),
        sa.Column("time", sa.Time, nullable=False),
        sa.Column("car_model", sa.Text, nullable=False),
        sa.Column("booked_at", _TIMESTAMP, nullable=False),
        sa.PrimaryKeyConstraint("confirmation_id", name="appointments_key"),
        sa.UniqueConstraint(
            "dealership_id", "date", "time", name="appointments_dealership_id_date_time_unique"
        ),
    )
    op.create_index("appointments_user_id", "appointments", ["user_id"])
