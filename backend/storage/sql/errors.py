"""Classifies database errors: is a retry worthwhile, is the content at fault, what is the reason?

When a connection fails, libpq gives no SQLSTATE, only a text in the server's language. This module
knows the English texts of permanent failures. It takes every other text for a temporary failure.
"""

import re
import sqlite3
from collections.abc import Sequence
from enum import Enum, auto

from sqlalchemy.exc import DBAPIError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from backend.domain.errors import NotStorable, StorageError, StoreAway


class Failure(Enum):
    """How a connection or a transaction failed."""

    LOST_RACE = auto()
    """A serialization failure, a deadlock, or a prepared statement that a pooler mixed up.

    An immediate retry may succeed.
    """

    BUSY = auto()
    """The database answers that it cannot serve now. Retried until the time-out."""

    UNREACHABLE = auto()
    """There was no connection, or it broke. Retried for `RESTART_SECONDS`."""

    PASSING = auto()
    """A temporary failure that lasts, or was waited for already. The caller may retry it later."""

    REFUSED = auto()
    """The server refuses the connection, and would refuse it again."""

    NOT_STORABLE = auto()
    """The content is at fault: the same transaction would fail again."""

    OTHER = auto()
    """Any other failure. It counts as the store's fault, so the caller keeps an unstored ending.

    Keeping one for too long leaves its session busy. Dropping one that could be stored would lose
    an answer that the client has seen.
    """


READ_ONLY = "25006"
"""The SQLSTATE of a write on a standby, or on a primary that was demoted."""

_PREPARED_ELSEWHERE = frozenset({"26000", "42P05"})
"""invalid_sql_statement_name, duplicate_prepared_statement"""

_CLASSES_OF_POOLERS = frozenset({"08", "58", "XX"})
"""The SQLSTATEs in which poolers wrap what they say themselves."""

_BY_STATE = {
    READ_ONLY: Failure.BUSY,  # another server takes over, and the connection was dropped
    "25P03": Failure.BUSY,  # idle_in_transaction_session_timeout
    "40001": Failure.LOST_RACE,  # serialization_failure
    "40P01": Failure.LOST_RACE,  # deadlock_detected
    "53300": Failure.BUSY,  # too_many_connections
    "55P03": Failure.PASSING,  # lock_not_available
    "57014": Failure.PASSING,  # query_canceled, by our own statement_timeout
    "57P01": Failure.BUSY,  # admin_shutdown
    "57P02": Failure.BUSY,  # crash_shutdown
    "57P03": Failure.BUSY,  # cannot_connect_now
    "57P05": Failure.BUSY,  # idle_session_timeout
}
_BY_CLASS_OF_STATE = {
    "08": Failure.BUSY,  # connection_exception
    "22": Failure.NOT_STORABLE,  # data_exception
    "23": Failure.NOT_STORABLE,  # integrity_constraint_violation
    "54": Failure.NOT_STORABLE,  # program_limit_exceeded
}
_BY_SQLITE_CODE = {
    sqlite3.SQLITE_BUSY: Failure.PASSING,
    sqlite3.SQLITE_LOCKED: Failure.PASSING,
    sqlite3.SQLITE_TOOBIG: Failure.NOT_STORABLE,
    sqlite3.SQLITE_CONSTRAINT: Failure.NOT_STORABLE,
    sqlite3.SQLITE_MISMATCH: Failure.NOT_STORABLE,
    sqlite3.SQLITE_RANGE: Failure.NOT_STORABLE,
}
# The driver's text for a value of the wrong type. Only the text tells it from "connection is
# closed": both are the same exception without an error code.
_CANNOT_BIND = "Error binding parameter"

_REFUSALS = (
    (
        (
            r"authentication failed|no password|no credentials|no such user|user not found|"
            r"role \".*\" does not exist|not permitted"
        ),
        "The server refuses this user or password.",
    ),
    (r"database \".*\" does not exist|no such database", "The server has no such database."),
    (
        r"no pg_hba\.conf entry",
        "The server's pg_hba.conf refuses this user and address; it may require sslmode=require.",
    ),
    (r"permission denied", "This user may not connect to this database."),
    (
        r"statement pooling",
        (
            "The pooler refuses transactions: set pool_mode = transaction. Only for migrations, "
            "MIGRATE_DATABASE_URL may lead around the pooler."
        ),
    ),
    (
        r"unsupported startup parameter",
        "The pooler refuses options=: leave it out, and use ALTER ROLE … SET search_path = ….",
    ),
    (
        r"unrecognized configuration parameter|invalid value for parameter|command-line argument",
        "The server refuses the value of options= in the URL.",
    ),
    (r"does not support SSL", "The server has no TLS, but sslmode= in the URL requires it."),
    (r"certificate", "The TLS certificate is not accepted: check sslmode= and sslrootcert=."),
    (
        r"invalid \S+ value|invalid connection option|invalid integer value",
        "A parameter in the URL has an invalid value.",
    ),
)
# Texts of PgBouncer, of Supabase's pooler and PgCat, and of RDS Proxy.
_NONE_FREE = r"query_wait_timeout|from the pool\b|waiting to acquire"
_REASONS = (
    (r"(?i)too many|connection slots|no more connections|max client", "it has too many clients"),
    (_NONE_FREE, "the pooler has no free connection"),
    (r"starting up|shutting down|recovery|not yet accepting", "it is starting or stopping"),
    (r"server_login_retry|cannot connect to server", "the pooler does not reach it"),
    (r"refused", "connection refused"),
    (r"translate host name|resolve host", "its host name cannot be resolved"),
    (r"lock timeout|database is locked|deadlock|serialize", "other transactions hold its locks"),
    (r"read-only", "it is a read-only standby"),
    (r"time(d )?out", "it does not answer in time"),
    (r"route to host|unreachable", "there is no route to its host"),
    (r"No such file", "its socket does not exist"),
    (r"closed the connection|lost|reset", "the connection was closed"),
)
_IS_FULL = re.compile(rf"(?i)max client|{_NONE_FREE}")
# libpq writes two spaces after the severity if the text comes from the server, as in "FATAL:  ".
# The second text is libpq's own, about `target_session_attrs`: another server is to take over.
_ANSWERED = re.compile(r"^\S+:  |^session is read-only")
# libpq's text about one host. For several, psycopg writes the last one first, and then all.
_OF_HOST = re.compile(
    r"connection to server .*? failed: "
    r"(.*?)(?=\n(?:Multiple connection attempts failed|- host: )|\Z)",
    re.DOTALL,
)


def failure_of(error: Exception) -> Failure:
    if isinstance(error, PoolTimeout):
        return Failure.BUSY
    if isinstance(error, DBAPIError):
        return _of_driver(error)
    # A value that never reached the driver: it cannot be encoded, is too large, or is not JSON.
    is_of_content = isinstance(error, UnicodeError | OverflowError | StatementError)
    return Failure.NOT_STORABLE if is_of_content else Failure.OTHER


def translated(error: Exception) -> StorageError:
    """Translate into an error that callers without SQL understand. Raise it `from` the cause."""
    match failure_of(error):
        case Failure.NOT_STORABLE:
            return NotStorable()
        case Failure.OTHER:
            return StorageError()
        case Failure.REFUSED:
            return StorageError(reason=_refusal(_messages_of(error)))
    return StoreAway(reason=f"The database is not available: {_reason(_messages_of(error))}.")


def _of_driver(error: DBAPIError) -> Failure:
    if isinstance(error.orig, sqlite3.Error):
        failure = _in_sqlite(error.orig)
    elif state := getattr(error.orig, "sqlstate", None):
        failure = _by_state(state, error)
    else:
        return _without_state(error)
    # If the connection broke as well, the error does not prove that the content is at fault.
    is_doubtful = failure is Failure.NOT_STORABLE and error.connection_invalidated
    return Failure.OTHER if is_doubtful else failure


def _by_state(state: str, error: DBAPIError) -> Failure:
    if is_prepared_elsewhere(error.orig):
        return Failure.LOST_RACE
    if state[:2] in _CLASSES_OF_POOLERS:
        texts = _messages_of(error)
        if _refusal(texts) is not None:
            return Failure.REFUSED
        if any(map(_IS_FULL.search, texts)):
            return Failure.BUSY
    return _BY_STATE.get(state) or _BY_CLASS_OF_STATE.get(state[:2], Failure.OTHER)


def is_prepared_elsewhere(error: BaseException | None) -> bool:
    """Whether a prepared statement is missing, or another one: a pooler changed the connection."""
    state = getattr(error, "sqlstate", None)
    return state in _PREPARED_ELSEWHERE or (state == "08P01" and "prepared statement" in str(error))


def _in_sqlite(error: sqlite3.Error) -> Failure:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        # The lowest byte is the primary code; the rest only refines it.
        return _BY_SQLITE_CODE.get(code & 0xFF, Failure.OTHER)
    is_unbound = str(error).startswith(_CANNOT_BIND)
    is_of_content = is_unbound or isinstance(error, sqlite3.DataError | sqlite3.IntegrityError)
    return Failure.NOT_STORABLE if is_of_content else Failure.OTHER


def _without_state(error: DBAPIError) -> Failure:
    """Classify an error without SQLSTATE: from psycopg itself, or from libpq while connecting."""
    if error.connection_invalidated:
        return Failure.UNREACHABLE
    # psycopg refuses a NUL character with a `DataError`. The DB-API prescribes these names.
    if type(error.orig).__name__ in {"DataError", "IntegrityError"}:
        return Failure.NOT_STORABLE
    texts = _messages_of(error)
    if _refusal(texts) is not None:
        return Failure.REFUSED
    if not isinstance(error, OperationalError):
        return Failure.OTHER
    return Failure.BUSY if any(map(_ANSWERED.search, texts)) else Failure.UNREACHABLE


def _messages_of(error: Exception) -> list[str]:
    """The texts of all hosts, without the hosts, whose names may have any word that we look for."""
    text = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    return _OF_HOST.findall(text) or [text.rpartition(" failed: ")[2]]


def _refusal(texts: Sequence[str]) -> str | None:
    """The reason if all hosts refuse."""
    found = [
        next((words for pattern, words in _REFUSALS if re.search(pattern, text)), None)
        for text in texts
    ]
    return found[0] if all(found) else None


def _reason(texts: Sequence[str]) -> str:
    found = (words for pattern, words in _REASONS for text in texts if re.search(pattern, text))
    return next(found, "the connection failed")
