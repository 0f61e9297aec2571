"""The tables. A change here needs a revision in migrations/versions; a test compares the two.

Columns stand in the order in which the revisions add them, so a new column comes last.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    Float,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    Time,
    UniqueConstraint,
)

from backend.storage.sql.dialects import UtcDateTime

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_key",
        "uq": "%(table_name)s_%(column_0_N_name)s_unique",
        "fk": "%(table_name)s_%(referred_table_name)s",
        "ix": "%(table_name)s_%(column_0_N_name)s",
    }
)

sessions = Table(
    "sessions",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_turn_at", UtcDateTime),
    Column("current_turn_id", Text),  # the turn that holds the session
    Column("turns", Integer, nullable=False, default=0),
    Column("messages", Integer, nullable=False, default=0),  # also the last position
    Column("input_tokens", BigInteger, nullable=False, default=0),
    Column("output_tokens", BigInteger, nullable=False, default=0),
    Column("characters_per_token", Float, nullable=False),
    Column("summary", Text),
    Column("untold_since", Float),  # DatabaseTime of the last change that no summary covers
    Column("summary_claim", Text),  # random id; whoever has it writes the summary
    Column("summary_not_before", Float),  # DatabaseTime before which nobody else may claim
    Column("summary_failures", Integer),  # failed attempts since the last turn
    Column("history_start", Integer),  # position of the first message that goes to the model
    Column("earlier_summary", Text),  # stands in the prompt for the messages before that
    Column("earlier_until", Integer),  # position of the last message that it knows of
    Column("summary_until", Integer),  # the same for `summary`
    Column("summary_wanted", Boolean),  # now, because the history is about to be cut
    Column("spent", JSON(none_as_null=True)),  # sum of all model calls
    Column("title", Text),  # the owner's; by default it is made of the first question
)
Index(
    "sessions_last_used",
    sessions.c.owner,
    sessions.c.last_turn_at,
    sessions.c.id,
    sqlite_where=sessions.c.last_turn_at.is_not(None),
    postgresql_where=sessions.c.last_turn_at.is_not(None),
)
Index(
    "sessions_unused",
    sessions.c.owner,
    sessions.c.created_at,
    sessions.c.id,
    sqlite_where=sessions.c.last_turn_at.is_(None),
    postgresql_where=sessions.c.last_turn_at.is_(None),
)
Index(
    "sessions_untold",
    sessions.c.untold_since,
    sqlite_where=sessions.c.untold_since.is_not(None),
    postgresql_where=sessions.c.untold_since.is_not(None),
)

# SQLite has the key (id), because it can only change a key by copying the table.
turns = Table(
    "turns",
    metadata,
    Column("id", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("session_id", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("worker", Text, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("outcome", Text),
    Column("error_code", Text),
    Column("model", Text),
    Column("rounds", Integer, nullable=False, default=0),
    Column("input_tokens", Integer, nullable=False, default=0),
    Column("output_tokens", Integer, nullable=False, default=0),
    Column("first_chunk_seconds", Float),
    # SQLite reads the columns before the log without the log's pages; for the columns after it, it
    # must skip those pages. Queries read those only for turns without a log, for a single turn, or
    # with the whole history of a session.
    Column("log", LargeBinary),  # until the upgrade is finished, then in turn_logs
    Column("idempotency_key", Text),
    Column("is_deserted", Boolean),  # nobody follows the turn on its own worker
    Column("followed_at", Float),  # DatabaseTime of the last follower on another worker
    Column("stop_as", Text),  # the outcome that a stop request asks for
    Column("traceparent", Text),  # of the turn's span
    Column("finish_reason", Text),  # of the last completion
    Column(
        "journal", JSON(none_as_null=True)
    ),  # messages up to the latest side effect; the question, once replaced
    Column("calls", JSON(none_as_null=True)),  # each call of a model
    ForeignKeyConstraint(
        ["owner", "session_id"], ["sessions.owner", "sessions.id"], ondelete="CASCADE"
    ),
    PrimaryKeyConstraint("owner", "id"),
    UniqueConstraint("owner", "session_id", "number"),
)
# Partial indexes: few turns are running, have a key, or still have a log.
Index(
    "turns_running",
    turns.c.worker,
    sqlite_where=turns.c.outcome.is_(None),
    postgresql_where=turns.c.outcome.is_(None),
)
Index(
    "turns_idempotency",
    turns.c.owner,
    turns.c.session_id,
    turns.c.idempotency_key,
    unique=True,
    sqlite_where=turns.c.idempotency_key.is_not(None),
    postgresql_where=turns.c.idempotency_key.is_not(None),
)
Index(
    "turns_with_log",
    turns.c.finished_at,
    sqlite_where=turns.c.log.is_not(None),
    postgresql_where=turns.c.log.is_not(None),
)

# Postgres partitions it by day (see `partitions`). No foreign key: it would have to be checked for
# each log, and new partitions would lock the turns. Sessions delete their logs themselves.
turn_logs = Table(
    "turn_logs",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("turn_id", Text, primary_key=True),
    Column("finished_at", UtcDateTime, primary_key=True),
    Column("log", LargeBinary, nullable=False),
    postgresql_partition_by="RANGE (finished_at)",
)

messages = Table(
    "messages",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("session_id", Text, primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("turn_id", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("content", Text, nullable=False),
    Column("tool_calls", JSON(none_as_null=True)),
    Column("tool_call_id", Text),
    Column("tool_name", Text),
    Column("created_at", UtcDateTime, nullable=False),
    ForeignKeyConstraint(
        ["owner", "session_id"], ["sessions.owner", "sessions.id"], ondelete="CASCADE"
    ),
)

workers = Table(
    "workers",
    metadata,
    Column("id", Text, primary_key=True),
    Column("seen_at", Float, nullable=False),  # DatabaseTime
)

# Stored, because a worker that starts later cannot see that the clock jumped before its start.
clock_doubts = Table(
    "clock_doubts",
    metadata,
    Column("began_at", Float, primary_key=True),  # DatabaseTime
    Column("ends_at", Float, nullable=False),  # DatabaseTime
    Column("jump_seconds", Float, nullable=False),
)

clock_marks = Table(
    "clock_marks",
    metadata,
    Column("at", Float, primary_key=True),  # DatabaseTime
    Column("uptime_seconds", Float, nullable=False),  # of the machine, at this time
)

dealerships = Table(
    "dealerships",
    metadata,
    Column("id", Text, primary_key=True),
    Column("place", Integer, nullable=False),  # position in the list that customers see
    Column("name", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("phone", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("hours", JSON, nullable=False),
)

car_models = Table(
    "car_models",
    metadata,
    Column("name", Text, primary_key=True),
    Column("place", Integer, nullable=False),
    Column("description", Text, nullable=False),
)

profiles = Table(
    "profiles",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("preferred_dealership_id", Text),
)

# No foreign keys: a booking outlives the dealership's entry and the session that made it.
appointments = Table(
    "appointments",
    metadata,
    Column("confirmation_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False, index=True),
    Column("dealership_id", Text, nullable=False),
    Column("date", Date, nullable=False),
    Column("time", Time, nullable=False),
    Column("car_model", Text, nullable=False),
    Column("booked_at", UtcDateTime, nullable=False),
    Column("turn_id", Text, index=True),  # the turn that made the booking
    UniqueConstraint("dealership_id", "date", "time"),
)

# No foreign key: the sums outlive the sessions. Postgres partitions it by day.
usage_days = Table(
    "usage_days",
    metadata,
    Column("owner", Text, primary_key=True),
    Column("day", Date, primary_key=True, index=True),  # in UTC
    Column("model", Text, primary_key=True),
    Column("purpose", Text, primary_key=True),
    Column("calls", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("estimated_tokens", BigInteger, nullable=False),
    Column("unpriced_tokens", BigInteger, nullable=False),
    Column("cost", BigInteger, nullable=False),  # in 10⁻¹² USD
    postgresql_partition_by="RANGE (day)",
)

budget_windows = Table(
    "budget_windows",
    metadata,
    Column("key", Text, primary_key=True),
    Column("began_at", BigInteger, primary_key=True, autoincrement=False),  # DatabaseTime
    Column("ends_at", BigInteger, nullable=False, index=True),  # DatabaseTime
    Column("used", BigInteger, nullable=False),
)

budget_reservations = Table(
    "budget_reservations",
    metadata,
    Column("turn_id", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("amount", BigInteger, nullable=False),
    Column("expires_at", Float, nullable=False),  # DatabaseTime
)
Index("budget_reservations_of_key", budget_reservations.c.key)
