"""Database URLs as people paste them, and the advice in the errors."""

import pytest

from backend.domain.errors import StorageError
from backend.storage.sql.database_url import hosts_of, parse, says_pooled, server_of, without_pooler

PATTERN = "postgresql://user:password@host:5432/database"


@pytest.mark.parametrize(
    "url",
    [
        "postgres://lex:secret@db:5432/lex",
        "postgresql://lex:secret@db:5432/lex",
        "postgresql+psycopg://lex:secret@db:5432/lex",
        "POSTGRES://lex:secret@db:5432/lex",
        "  postgresql://lex:secret@db:5432/lex\n",
        "'postgresql://lex:secret@db:5432/lex'",
        '"postgresql://lex:secret@db:5432/lex"',
    ],
)
def test_the_usual_names_of_postgres_are_one(url: str) -> None:
    parsed = parse(url)

    assert parsed.drivername == "postgresql+psycopg"
    assert (parsed.username, parsed.password, parsed.host) == ("lex", "secret", "db")
    assert (parsed.port, parsed.database) == (5432, "lex")


@pytest.mark.parametrize(
    "query",
    ["", "?sslmode=require&channel_binding=require", "?options=-csearch_path%3Dlex", "?host=/tmp"],
)
def test_parameters_that_libpq_knows_are_taken(query: str) -> None:
    parsed = parse(f"postgresql://lex:secret@db/lex{query}")

    assert set(parsed.query) <= {"sslmode", "channel_binding", "options", "host"}


@pytest.mark.parametrize(
    ("url", "database"),
    [
        ("sqlite:///lex.db", "lex.db"),
        ("sqlite:///data/lex.db", "data/lex.db"),
        ("sqlite:////data/lex.db", "/data/lex.db"),
        ("sqlite+pysqlite:////data/lex.db", "/data/lex.db"),
        ("SQLite:///lex.db", "lex.db"),
    ],
)
def test_a_file_is_relative_with_three_slashes_and_absolute_with_four(
    url: str, database: str
) -> None:
    parsed = parse(url)

    assert (parsed.drivername, parsed.database) == ("sqlite", database)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql+asyncpg://u5er:s3cret@db/lex", "Write postgresql:// in place of"),
        ("postgres+psycopg2://u5er:s3cret@db/lex", "Write postgresql:// in place of"),
        ("postgresql+pg8000://u5er:s3cret@db/lex", "Write postgresql:// in place of"),
        ("pgsql://u5er:s3cret@db/lex", "Write postgresql:// in place of pgsql://"),
        ("postgresql://u5er:s3cret@db/lex?schema=public", "ALTER ROLE … SET search_path"),
        ("postgresql://u5er:s3cret@db/lex?currentSchema=lex", "ALTER ROLE … SET search_path"),
        ("postgresql://u5er:s3cret@db/lex?ssl=true", "write sslmode=require"),
        ("postgresql://u5er:s3cret@db/lex?pgbouncer=s3cret", "must be true or false"),
        ("postgresql://u5er:s3cret@db/lex?connection_limit=5", "set DATABASE_POOL_SIZE"),
        ("postgresql://u5er:s3cret@db/lex?pool_timeout=5", "because Lex has a pool of its own"),
        ("postgresql://u5er:s3cret@db,/lex", "cannot be read"),
        ("postgresql://u5er:s3cret@db:1,s3cret:x/lex", "cannot be read"),
        ("postgresql://u5er:s3cret@db:1,s3cret:99999/lex", "cannot be read"),
        ("postgresql://u5er:x@db:99999/s3cret", "cannot be read"),
        ("postgresql://u5er:x@/lex?host=db&port=s3cret", "cannot be read"),
        ("postgresql://u5er:s3cret@db/lex?colour=s3cret", "does not know colour= in a URL"),
        ("postgresql://u5er:s3cret@db/lex?%C3%A4=1", "does not know …= in a URL"),
        ("jdbc:postgresql://db/lex?user=u5er&password=s3cret", PATTERN),
        ("jdbc:mysql://db/lex?user=u5er&password=s3cret", PATTERN),
        ("psql 'postgresql://u5er:s3cret@db/lex'", PATTERN),
        ("host=db user=u5er password=s3cret dbname=lex", PATTERN),
        ("Server=db;Database=lex;User Id=u5er;Password=s3cret", PATTERN),
        ("postgresql:/u5er:s3cret@db/lex", PATTERN),
        ("u5er:s3cret@db:5432/lex", PATTERN),
        ("mysql://u5er:s3cret@db/lex", "There is no store for mysql:// URLs: write postgresql://"),
        ("mongodb+srv://u5er:s3cret@db/lex", "There is no store for mongodb+srv:// URLs"),
        ("postgresql://u5er:p@s3cret@db/lex", "write %40 for @"),
        ("postgresql://u5er:p@s3cret:x@db/lex", "write %40 for @"),
        ("postgresql://u5er:p@s3cret/x@db/lex", "write %40 for @"),
        ("postgresql://u5er:p@s3cret?x@db/lex", "write %40 for @"),
        ("postgresql://u5er:x@db:s3cret/lex", "cannot be read"),
        ("postgresql://u5er:x@[db/s3cret", "cannot be read"),
        ("sqlite://lex.db", "SQLite needs a file: write sqlite:///lex.db"),
        ("sqlite://data/lex.db", "SQLite needs a file: write sqlite:///lex.db"),
        ("sqlite:lex.db", "SQLite needs a file: write sqlite:///lex.db"),
        ("sqlite:/data/lex.db", "SQLite needs a file: write sqlite:///lex.db"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite+aiosqlite:///lex.db", "Write sqlite:// in place of sqlite+aiosqlite://"),
        ("sqlite3:///lex.db", "Write sqlite:// in place of sqlite3://"),
        ("/data/lex.db", "sqlite:////data/lex.db"),
        ("lex.db", "sqlite:///lex.db"),
    ],
)
def test_any_other_url_is_told_what_to_write_instead(url: str, told: str) -> None:
    with pytest.raises(StorageError) as raised:
        parse(url)

    line = raised.value.explanation
    assert told in line
    assert "\n" not in line
    assert "s3cret" not in line
    assert "u5er" not in line


@pytest.mark.parametrize(
    ("url", "is_pooled"),
    [
        ("postgresql://lex:secret@db/lex?pgbouncer=true&sslmode=require", True),
        ("postgresql://lex:secret@db:5432/lex?pgbouncer=True", True),
        ("postgresql://lex:secret@db:5432/lex?pgbouncer=false", False),
        ("postgresql://lex.project:secret@pooler.example.com:6543/lex", True),
        ("postgresql://lex:secret@one:5432,two:6543/lex", True),
        ("postgresql://lex:secret@/lex?host=one&port=6543", True),
        ("postgresql://lex:secret@db:5432/lex", False),
    ],
)
def test_a_url_may_tell_of_a_pooler(url: str, *, is_pooled: bool) -> None:
    parsed = parse(url)

    assert says_pooled(parsed) is is_pooled
    assert "pgbouncer" not in without_pooler(parsed).query


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql://lex:secret@one:5433,two:5434/lex", [("one", 5433), ("two", 5434)]),
        ("postgresql://one,two:5434/lex?connect_timeout=3", [("one", 5432), ("two", 5434)]),
        ("postgresql://lex@[::1]:5433,[fe80::1]/lex", [("::1", 5433), ("fe80::1", 5432)]),
        ("postgresql://lex@/lex?host=one,two&port=5433", [("one", 5433), ("two", 5433)]),
        ("postgresql://lex@/lex?host=one:5433&host=two", [("one", 5433), ("two", 5432)]),
        ("postgresql://lex@/lex?host=/run/postgres", []),
        ("postgresql://lex:se,cret@db/lex?application_name=a,b", [("db", 5432)]),
    ],
)
def test_a_url_may_have_several_hosts(url: str, hosts: list[tuple[str, int]]) -> None:
    parsed = parse(url)

    assert hosts_of(parsed) == hosts
    assert parsed.database == "lex"


def test_a_log_line_names_the_server_and_nobody() -> None:
    assert server_of("postgresql://lex:secret@db.internal:6432/lex") == "db.internal:6432"
    assert server_of("postgresql://lex:secret@db.internal/lex") == "db.internal:5432"
    assert server_of("postgresql://lex:secret@one,two:6432/lex") == "one:5432,two:6432"
    assert server_of("postgresql:///lex") is None
    assert server_of("sqlite:///lex.db") is None
    assert server_of("postgresql://u:p@ss@db/lex") is None
