"""Creates the engine for Postgres, which may be reached directly or through a pooler.

A pooler in transaction mode, such as PgBouncer, lends its connections to a client for one
transaction each. So nothing of ours may outlive a transaction: the next client would inherit our
settings, and a statement that was prepared on one connection is missing on the next, or is another
one there.
"""

from typing import Any, Literal

import structlog
from sqlalchemy import Engine, ExceptionContext, create_engine, event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.engine import URL
from sqlalchemy.pool import PoolProxiedConnection

from backend.storage.sql.database_url import hosts_of, says_pooled, without_pooler
from backend.storage.sql.errors import READ_ONLY, is_prepared_elsewhere

logger = structlog.get_logger()

Prepared = Literal["auto", "off"]
"""Prepare statements except through a pooler, or never."""

POOL_SIZE = 4

PREPARE_AFTER = 5
"""Executions on one connection, after which psycopg prepares a statement there."""

# Opens a transaction, and keeps one slow or stuck transaction from blocking all others for long.
# One message, so it costs one round trip. The settings end with the transaction.
BEGIN = (
    "BEGIN; SET LOCAL lock_timeout = '5s'; SET LOCAL statement_timeout = '8s'; "
    "SET LOCAL idle_in_transaction_session_timeout = '30s'"
)

# Names a direct connection, and returns a row only then. A pooler makes up the process
# id that it tells its clients, because its own connections to the server vary. Through it, no name
# is set: PgBouncer would leave the name to other clients.
_NAME_IF_DIRECT = (
    "SELECT set_config('application_name', "
    "coalesce(nullif(current_setting('application_name'), ''), 'lex'), false) "
    "WHERE pg_backend_pid() = %s"
)

_OPTIONS = {
    "connect_timeout": "5",
    # Notice a vanished host after 10 s of silence and two probes of 5 s.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "10000",
}
_OPTIONS_OF_SEVERAL = {
    # Hosts are tried in turn: two dead ones must leave time for the third.
    "connect_timeout": "2",
    "target_session_attrs": "read-write",
}


class OneMessageBegin(PGDialect_psycopg):
    """psycopg's dialect, on connections for which psycopg itself sends no BEGIN."""

    supports_statement_cache = True  # SQLAlchemy wants this to be repeated

    def do_begin(self, dbapi_connection: PoolProxiedConnection) -> None:
        # If the server has closed the connection meanwhile, this fails, and the transaction is
        # repeated on a new one. So connections need no ping, which would be a round trip.
        dbapi_connection.dbapi_connection.execute(BEGIN)  # type: ignore[union-attr]  # psycopg's


_DRIVER = "postgresql+lex"
registry.register(_DRIVER.replace("+", "."), __name__, OneMessageBegin.__name__)


def postgres_engine(
    url: URL, *, connections: int = POOL_SIZE, prepared: Prepared = "auto"
) -> Engine:
    several = _OPTIONS_OF_SEVERAL if len(hosts_of(url)) > 1 else {}
    plain = without_pooler(url)
    engine = create_engine(
        plain.set(drivername=_DRIVER, query={**_OPTIONS, **several, **plain.query}),
        pool_size=connections,
        max_overflow=0,
        hide_parameters=True,  # errors are logged, and must not quote conversations
        use_native_hstore=False,  # saves a query
        connect_args={"autocommit": True, "prepare_threshold": None},  # see `do_begin`, `_Way`
    )
    way = _Way(is_pooled=says_pooled(url), prepared=prepared)
    event.listen(engine, "connect", way.opened)
    event.listen(engine, "handle_error", way.failed)
    event.listen(engine, "handle_error", _drop_a_read_only_connection)
    return engine


def _drop_a_read_only_connection(context: ExceptionContext) -> None:
    """Drop all connections, because their server is the primary no more."""
    if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
        context.is_disconnect = True


class _Way:
    """The way to the server: direct, until the URL or a connection shows that there is a pooler.

    Statements are prepared only on direct connections.
    """

    def __init__(self, *, is_pooled: bool, prepared: Prepared) -> None:
        self._is_pooled = is_pooled
        self._prepares = prepared == "auto"

    def opened(self, connection: Any, _record: object) -> None:
        if self._is_pooled:
            return
        try:
            row = connection.execute(_NAME_IF_DIRECT, [connection.pgconn.backend_pid]).fetchone()
        except BaseException:  # SQLAlchemy would forget the open connection
            connection.close()
            raise
        if row is None:
            self._found("the server knows the connection by another number")
        elif self._prepares:
            connection.prepare_threshold = PREPARE_AFTER

    def failed(self, context: ExceptionContext) -> None:
        """Replace all connections if an unnoticed pooler has mixed up their statements."""
        if is_prepared_elsewhere(context.original_exception):
            self._found("a prepared statement was not the one of the connection")
            context.is_disconnect = True

    def _found(self, sign: str) -> None:
        if not self._is_pooled:
            self._is_pooled = True
            logger.info("pooler_found", sign=sign)
