"""Parses `DATABASE_URL`. For a URL that it refuses, the error says what to write instead.

No error message repeats a user, a password, a host or the value of a parameter.
"""

import re
from itertools import cycle
from urllib.parse import unquote

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
_POOL_SIZE = "leave it out, and set DATABASE_POOL_SIZE"
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
    "connection_limit": _POOL_SIZE,
    "pool_size": _POOL_SIZE,
    "max_overflow": _POOL_SIZE,
    "pool_timeout": _OWN_POOL,
}
_POOLER = "pgbouncer"
"""A parameter of the URL that we know and libpq does not."""

_POOLER_PORT = 6543
"""Supabase's pooler in transaction mode."""

_HOST = re.compile(r"[\w.:%-]+")
_PLACE = re.compile(r"([\w.-]+|\[[\w.:%]+\])(?::(\d{1,5}))?")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]{0,39}")


def parse(database_url: str) -> URL:
    """Return the URL with the driver that Lex uses, and several hosts as libpq's parameters.

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
    """Hosts and ports, for a log line; None for a file, a local socket or an unusable URL."""
    try:
        hosts = hosts_of(parse(database_url))
    except StorageError:
        return None
    return ",".join(f"{host}:{port}" for host, port in hosts) or None


def hosts_of(url: URL) -> list[tuple[str, int]]:
    """The hosts with their ports, without local sockets."""
    ports = _listed(url, "port") or [str(url.port or "")]
    # One port may be that of all hosts.
    pairs = zip(_listed(url, "host") or [url.host or ""], cycle(ports), strict=False)
    places = [(_PLACE.fullmatch(host), host, port) for host, port in pairs]
    return [
        (found[1].strip("[]") if found else host, int((found and found[2]) or port or 5432))
        for found, host, port in places
        if host and not host.startswith("/")
    ]


def _listed(url: URL, name: str) -> list[str]:
    given = url.query.get(name, ())
    return [
        each for part in ([given] if isinstance(given, str) else given) for each in part.split(",")
    ]


def says_pooled(url: URL) -> bool:
    """Whether the URL itself tells of a pooler in transaction mode."""
    is_told = str(url.query.get(_POOLER)).lower() == "true"
    return is_told or any(port == _POOLER_PORT for _, port in hosts_of(url))


def without_pooler(url: URL) -> URL:
    """The URL without the parameter that libpq would refuse."""
    return url.difference_update_query([_POOLER])


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
    rest, several = _several_hosts(rest)
    url = _made(f"postgresql+psycopg://{rest}").update_query_dict(
        {"host": several} if several else {}
    )
    if url.host and not _HOST.fullmatch(url.host):
        raise StorageError(_UNREADABLE)
    url = _with_plain_hosts(url)
    if str(url.query.get(_POOLER, "true")).lower() not in ("true", "false"):
        raise StorageError(f"The parameter {_POOLER}= must be true or false.")
    for name in url.query.keys() - _parameters() - {_POOLER}:
        hint = _HINTS.get(name.lower(), "leave it out")
        raise StorageError(f"PostgreSQL does not know {_named(name)}= in a URL: {hint}.")
    return url


def _several_hosts(rest: str) -> tuple[str, list[str]]:
    """Take hosts that are separated by commas out of the URL, because SQLAlchemy reads only one."""
    user, at, place = rest.rpartition("@") if "@" in rest.partition("?")[0] else ("", "", rest)
    listed = re.split(r"[/?]", place, maxsplit=1)[0]
    if "," not in listed:
        return rest, []
    hosts = [unquote(each) for each in listed.split(",")]
    if not all(map(_PLACE.fullmatch, hosts)):
        raise StorageError(_UNREADABLE)
    return f"{user}{at}{place.removeprefix(listed)}", hosts


def _with_plain_hosts(url: URL) -> URL:
    """Write several hosts as libpq does, with a port each."""
    try:
        hosts = hosts_of(url)
    except ValueError:  # a port, which may be a piece of a password
        raise StorageError(_UNREADABLE) from None
    if any(not 0 < port < 65_536 for _, port in hosts):
        raise StorageError(_UNREADABLE)
    if len(hosts) < 2:
        return url
    names = ",".join(name for name, _ in hosts)
    ports = ",".join(str(port) for _, port in hosts)
    return url.update_query_dict({"host": names, "port": ports})


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
