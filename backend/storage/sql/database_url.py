"""Parses `DATABASE_URL`. For a URL that it refuses, the error says what to write instead.

No error message repeats a user, a password, a host or the value of a parameter.
"""

import re

from psycopg.pq import Conninfo
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from backend.domain.errors import StorageError

POSTGRES = "postgresql://user:password@host:5432/database"
SQLITE = "sqlite:///lex.db for a file in this folder, sqlite:////data/lex.db for an absolute path"

_UNREADABLE = f"The database URL cannot be read: write {POSTGRES}."
_ENCODE = (
    "The database URL has more than one @. In the user name and the password, write "
    "%40 for @, %3A for :, %2F for /, %3F for ?, %23 for # and %25 for %."
)
_SEARCH_PATH = (
    "leave it out, and choose the schema with ALTER ROLE … SET search_path = …; "
    "without a pooler, options=-csearch_path%3D… works as well"
)
_OWN_POOL = "leave it out, because Lex has a pool of its own"
_HINTS = {
    "schema": _SEARCH_PATH,
    "currentschema": _SEARCH_PATH,
    "search_path": _SEARCH_PATH,
    "ssl": "write sslmode=require",
    "usessl": "write sslmode=require",
    "sslaccept": "write sslmode=require",
    "timeout": "write connect_timeout",
    "connecttimeout": "write connect_timeout",
    "username": "write the user before the host",
    "database": "write the database behind the host",
    "pgbouncer": _OWN_POOL,
    "connection_limit": _OWN_POOL,
    "pool_size": _OWN_POOL,
    "pool_timeout": _OWN_POOL,
    "max_overflow": _OWN_POOL,
}
_HOST = re.compile(r"[\w.:%-]+")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]{0,39}")


def parse(database_url: str) -> URL:
    """Return the URL with the driver that Lex uses.

    Raises:
        StorageError: the URL cannot be used. The message says what to write instead.
    """
    text = _unwrapped(database_url)
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise StorageError(_other_notation(text))
    dialect, _, driver = scheme.lower().partition("+")
    match dialect, driver:
        case "postgres" | "postgresql", "" | "psycopg":
            return _postgres(rest)
        case "sqlite", "" | "pysqlite":
            return _sqlite(rest)
    raise StorageError(_other_scheme(scheme, dialect))


def server_of(database_url: str) -> str | None:
    """The host and port, for a log line; None for a file, a local socket or an unusable URL."""
    try:
        url = parse(database_url)
    except StorageError:
        return None
    return f"{url.host}:{url.port or 5432}" if url.host else None


def _unwrapped(text: str) -> str:
    """Strip the spaces and the quotes that a shell would have removed."""
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":
        text = text[1:-1].strip()
    return text


def _other_notation(text: str) -> str:
    start = text.lower()
    if start.startswith("sqlite"):
        return f"SQLite needs a file: write {SQLITE}."
    if start.startswith(("psql ", "postgres", "jdbc:")) or re.search(r"\b(host|server)\s*=", start):
        return _UNREADABLE
    return f"The database URL cannot be read: write {POSTGRES}, or {SQLITE}."


def _other_scheme(scheme: str, dialect: str) -> str:
    start = scheme.lower()
    if start.startswith(("jdbc:", "psql ")):
        return f"Leave out everything before postgresql://, and write {POSTGRES}."
    if dialect in ("postgres", "postgresql", "pgsql", "pg"):
        return f"Write postgresql:// in place of {_named(scheme)}://, without another driver."
    if dialect in ("sqlite", "sqlite3"):
        return f"Write sqlite:// in place of {_named(scheme)}://, without another driver."
    return f"There is no store for {_named(scheme)}:// URLs: write {POSTGRES}, or {SQLITE}."


def _named(name: str) -> str:
    """The name itself if it is harmless, otherwise `…`: it could be a piece of a password."""
    return name if _NAME.fullmatch(name) else "…"


def _postgres(rest: str) -> URL:
    if rest.count("@") > 1:
        # The end of the password would be a guess, and a wrong guess makes a piece of it the host.
        raise StorageError(_ENCODE)
    url = _made(f"postgresql+psycopg://{rest}")
    if url.host and not _HOST.fullmatch(url.host):
        raise StorageError(_UNREADABLE)
    for name in url.query.keys() - _parameters():
        hint = _HINTS.get(name.lower(), "leave it out")
        raise StorageError(f"PostgreSQL does not know {_named(name)}= in a URL: {hint}.")
    return url


def _sqlite(rest: str) -> URL:
    url = _made(f"sqlite://{rest}")
    if url.host or url.database in (None, "", ":memory:"):
        raise StorageError(
            f"SQLite needs a file: write {SQLITE}. For a store in memory say memory://."
        )
    return url


def _made(text: str) -> URL:
    try:
        return make_url(text)
    except (ArgumentError, ValueError):
        # Without the cause, which may quote a piece of the password.
        raise StorageError(_UNREADABLE) from None


def _parameters() -> set[str]:
    """The names that libpq knows."""
    return {option.keyword.decode() for option in Conninfo.get_defaults()}
