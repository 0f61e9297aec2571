"""One real Postgres for a whole run of tests, from a wheel: no installation, no port, root or not.

The server belongs to a keeper (`tests/postgres_keeper.py`), a process that the run starts and whose
standard input it holds open. So the server goes away with the run in every case: at its end, on
Ctrl-C, and when it is killed. All workers of a parallel run ask the same keeper, and each has a
database of its own.
"""

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg
from psycopg.sql import SQL, Identifier
from sqlalchemy.engine import URL, make_url

_numbers = count(1)


class PostgresServer:
    """The databases of one worker: schemas that their connections see as their only one.

    A schema is made in 3 ms, where `CREATE DATABASE` takes 130.
    """

    def __init__(self, url: URL) -> None:
        self._url = url

    @contextmanager
    def database(self) -> Iterator[str]:
        """An empty database, by its URL; gone at the end."""
        name = f"test_{next(_numbers)}"
        _execute(self._url, SQL("CREATE SCHEMA {}"), name)
        try:
            yield self._of_schema(name)
        finally:
            _execute(self._url, SQL("DROP SCHEMA {} CASCADE"), name)

    def _of_schema(self, name: str) -> str:
        url = self._url.set(drivername="postgresql+psycopg")
        url = url.update_query_dict({"options": f"-csearch_path={name}"})
        return url.render_as_string(hide_password=False)


@contextmanager
def keeping_postgres() -> Iterator[str]:
    """A keeper, by its address. It starts Postgres for the first who asks."""
    # Not under pytest's own directory: each start of pytest closes that to other users, and the
    # server runs as one of them when the tests run as root.
    with (
        tempfile.TemporaryDirectory(prefix="lex-postgres-") as folder,
        subprocess.Popen(
            [sys.executable, "-m", "tests.postgres_keeper", folder],
            stdin=subprocess.PIPE,  # it ends when this is closed
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal is not meant for it
            cwd=Path(__file__).parent.parent,
        ) as keeper,
    ):
        assert keeper.stdout is not None
        yield keeper.stdout.readline().decode().strip()


def postgres_of(keeper: str, worker: str) -> PostgresServer:
    """The server of this keeper, with an empty database for this worker."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(60)
        line.connect(keeper)
        said = line.makefile().readline().strip()
    assert said, "Postgres did not start"
    url = make_url(said)
    _execute(url, SQL("CREATE DATABASE {}"), worker)
    return PostgresServer(url.set(database=worker))


def _execute(url: URL, statement: SQL, name: str) -> None:
    with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
        connection.execute(statement.format(Identifier(name)))
