"""One real Postgres for a whole test run, from a wheel. It needs no installation and no port.

The server belongs to a keeper process (`tests/postgres_keeper.py`), whose standard input the run
holds open. So the server ends with the run in every case: at its end, on Ctrl-C, and if it is
killed. All workers of a parallel run share the keeper; each has its own database.
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
    """The databases of one worker.

    Each is a schema that its connections see as their only one: a schema is created in 3 ms, while
    `CREATE DATABASE` takes 130 ms.
    """

    def __init__(self, url: URL) -> None:
        self._url = url

    @contextmanager
    def database(self) -> Iterator[str]:
        """Yield the URL of an empty database, which is dropped at the end."""
        name = f"test_{next(_numbers)}"
        _execute(self._url, SQL("CREATE SCHEMA {}"), name)
        try:
            yield self._of_schema(name)
        finally:
            _execute(self._url, SQL("DROP SCHEMA {} CASCADE"), name)

    @contextmanager
    def through_a_pooler(self) -> Iterator[tuple[Path, str]]:
        """Yield the folder of the socket and the name of a new database, without parameters.

        A pooler refuses the parameter with which others choose their schema.
        """
        name = f"{self._url.database}_{next(_numbers)}"
        _execute(self._url, SQL("CREATE DATABASE {}"), name)
        try:
            yield Path(str(self._url.query["host"])), name
        finally:
            _execute(self._url, SQL("DROP DATABASE {} WITH (FORCE)"), name)

    def _of_schema(self, name: str) -> str:
        url = self._url.set(drivername="postgresql+psycopg")
        url = url.update_query_dict({"options": f"-csearch_path={name}"})
        return url.render_as_string(hide_password=False)


@contextmanager
def keeping_postgres() -> Iterator[str]:
    """Yield the address of a keeper. It starts Postgres at the first request."""
    # Not in pytest's own directory: pytest makes that private to its user, and as root the server
    # runs as another user.
    with (
        tempfile.TemporaryDirectory(prefix="lex-postgres-") as folder,
        subprocess.Popen(
            [sys.executable, "-m", "tests.postgres_keeper", folder],
            stdin=subprocess.PIPE,  # the keeper ends when this is closed
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C in the terminal must not reach it
            cwd=Path(__file__).parent.parent,
        ) as keeper,
    ):
        assert keeper.stdout is not None
        yield keeper.stdout.readline().decode().strip()


def postgres_of(keeper: str, worker: str) -> PostgresServer:
    """The server of this keeper, with a new database for this worker."""
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
