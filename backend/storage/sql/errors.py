"""The meaning of a database's errors: whether they pass, whether the content is at fault, and the
reason that operators read.

libpq gives no SQLSTATE for a connection that failed, only a text in the server's language. The
English ones that cannot pass by themselves are known here; any other is taken for one that passes.
"""

import re
import sqlite3
from enum import Enum, auto

from sqlalchemy.exc import DBAPIError, OperationalError, StatementError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from backend.domain.errors import NotStorable, StorageError, StoreAway


class Failure(Enum):
    """How a connection or a transaction failed."""

    LOST_RACE = auto()
    """Another transaction was quicker; the same one may succeed at once."""

    BUSY = auto()
    """The database answers, and says not now."""

    UNREACHABLE = auto()
    PASSING = auto()
    """Waited for long enough, and it may go well another time."""

    REFUSED = auto()
    """It would be refused again."""

    NOT_STORABLE = auto()
    """The same transaction would fail again, however well the store is."""

    OTHER = auto()
    """The store's fault, like all that is unknown. To keep an ending for too long costs a busy
    session; to give up one that could be stored costs what somebody was told."""


_BY_STATE = {
    "25006": Failure.PASSING,  # read_only_sql_transaction: a standby, in the middle of a fail-over
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
# The driver's words for a value of the wrong type. The same exception, without a code as well,
# says that the connection is closed.
_CANNOT_BIND = "Error binding parameter"

_REFUSALS = (
    (
        r"authentication failed|no password|role \".*\" does not exist|no such user|not permitted",
        "The server refuses this user or password.",
    ),
    (r"database \".*\" does not exist|no such database", "The server has no such database."),
    (
        r"no pg_hba\.conf entry",
        "The server's pg_hba.conf refuses this user from here; it may want sslmode=require.",
    ),
    (r"permission denied", "This user may not connect to this database."),
    (
        r"unsupported startup parameter",
        "A pooler takes no options=: leave it out, and use ALTER ROLE … SET search_path = ….",
    ),
    (
        r"unrecognized configuration parameter|invalid value for parameter|command-line argument",
        "The server does not take the value of options= in the URL.",
    ),
    (r"does not support SSL", "The server has no TLS, and sslmode= in the URL asks for it."),
    (r"certificate", "The certificates for TLS are not accepted; see sslmode= and sslrootcert=."),
    (
        r"invalid \S+ value|invalid connection option|invalid integer value",
        "A parameter in the URL has a value that cannot be used.",
    ),
)
_REASONS = (
    (r"too many|connection slots", "it has too many clients"),
    (r"starting up|shutting down|recovery|not yet accepting", "it is starting or stopping"),
    (r"refused", "connection refused"),
    (r"translate host name|resolve host", "its host name cannot be resolved"),
    (r"lock timeout|database is locked|deadlock|serialize", "what it is asked for is locked"),
    (r"read-only", "it is a standby"),
    (r"time(d )?out", "it does not answer in time"),
    (r"route to host|unreachable", "there is no way to its host"),
    (r"No such file", "its socket does not exist"),
    (r"closed the connection|lost|reset", "the connection was closed"),
)
# libpq puts two blanks behind the severity of what a server has said.
_ANSWERED = re.compile(r"^\S+:  ")


def failure_of(error: Exception) -> Failure:
    if isinstance(error, PoolTimeout):
        return Failure.BUSY
    if isinstance(error, DBAPIError):
        return _of_driver(error)
    # A value that never reached the driver: no encoding, too large a number, not JSON.
    is_of_content = isinstance(error, UnicodeError | OverflowError | StatementError)
    return Failure.NOT_STORABLE if is_of_content else Failure.OTHER


def translated(error: Exception) -> StorageError:
    """The same for all who know no SQL. Raise it from its cause."""
    match failure_of(error):
        case Failure.NOT_STORABLE:
            return NotStorable()
        case Failure.OTHER:
            return StorageError()
        case Failure.REFUSED:
            return StorageError(reason=_refusal(_message_of(error)))
    return StoreAway(reason=f"The database is not available: {_reason(_message_of(error))}.")


def _of_driver(error: DBAPIError) -> Failure:
    if isinstance(error.orig, sqlite3.Error):
        failure = _in_sqlite(error.orig)
    elif state := getattr(error.orig, "sqlstate", None):
        failure = _BY_STATE.get(state) or _BY_CLASS_OF_STATE.get(state[:2], Failure.OTHER)
    else:
        return _without_state(error)
    # An error on a connection that broke blames no content: nobody knows what it is worth.
    is_doubtful = failure is Failure.NOT_STORABLE and error.connection_invalidated
    return Failure.OTHER if is_doubtful else failure


def _in_sqlite(error: sqlite3.Error) -> Failure:
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        # The lower byte is the error, the rest says more about it.
        return _BY_SQLITE_CODE.get(code & 0xFF, Failure.OTHER)
    is_unbound = str(error).startswith(_CANNOT_BIND)
    is_of_content = is_unbound or isinstance(error, sqlite3.DataError | sqlite3.IntegrityError)
    return Failure.NOT_STORABLE if is_of_content else Failure.OTHER


def _without_state(error: DBAPIError) -> Failure:
    """An error that psycopg raises itself, or libpq while it connects."""
    text = _message_of(error)
    if error.connection_invalidated:
        return Failure.UNREACHABLE
    # psycopg refuses a NUL with a `DataError`. Every driver has these names, from the DB-API.
    if type(error.orig).__name__ in {"DataError", "IntegrityError"}:
        return Failure.NOT_STORABLE
    if _refusal(text) is not None:
        return Failure.REFUSED
    if not isinstance(error, OperationalError):
        return Failure.OTHER
    return Failure.BUSY if _ANSWERED.search(text) else Failure.UNREACHABLE


def _message_of(error: Exception) -> str:
    """Without the name of the host, in which any word may be."""
    text = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    return text.rpartition(" failed: ")[2]


def _refusal(text: str) -> str | None:
    return next((words for pattern, words in _REFUSALS if re.search(pattern, text)), None)


def _reason(text: str) -> str:
    found = (words for pattern, words in _REASONS if re.search(pattern, text))
    return next(found, "the connection failed")
