"""Database URLs as people paste them, and the advice in the errors."""

import pytest

from backend.domain.errors import StorageError
from backend.storage.sql.database_url import parse, server_of

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
        ("postgresql://u5er:s3cret@db/lex?pgbouncer=true", "because Lex has a pool of its own"),
        ("postgresql://u5er:s3cret@db/lex?connection_limit=5", "because Lex has a pool of its own"),
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


def test_a_log_line_names_the_server_and_nobody() -> None:
    assert server_of("postgresql://lex:secret@db.internal:6432/lex") == "db.internal:6432"
    assert server_of("postgresql://lex:secret@db.internal/lex") == "db.internal:5432"
    assert server_of("postgresql:///lex") is None
    assert server_of("sqlite:///lex.db") is None
    assert server_of("postgresql://u:p@ss@db/lex") is None
