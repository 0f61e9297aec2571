"""Backs up a SQLite database while Lex runs, and restores it.

`python -m backend.storage.sql.backup FILE` copies the database of `DATABASE_URL` to a new file.
With `--restore`, it replaces the content of the database by that of the file; restart Lex then.
"""

import os
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path

from backend.domain.errors import StorageError
from backend.storage.sql.database_url import parse

BUSY_SECONDS = 60.0
"""How long to wait for other writers."""


def back_up(database: Path, copy: Path) -> None:
    """Raises: StorageError, if there is no database, or the copy exists. sqlite3.Error."""
    if copy.exists():
        raise StorageError(f"{copy} exists already.")
    unfinished = copy.with_name(f"{copy.name}.unfinished")
    unfinished.unlink(missing_ok=True)
    _copy(database, unfinished)
    unfinished.rename(copy)


def restore(copy: Path, database: Path) -> None:
    """Raises: StorageError, if the copy is missing or damaged. sqlite3.Error."""
    with closing(_opened(copy)) as source:
        _check(source, copy)
    _copy(copy, database)


def _copy(source: Path, target: Path) -> None:
    with closing(_opened(source)) as reading, closing(sqlite3.connect(target)) as writing:
        writing.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000:.0f}")
        reading.backup(writing)
        _check(writing, target)


def _opened(file: Path) -> sqlite3.Connection:
    """Open an existing file; otherwise SQLite would make an empty one."""
    if not file.is_file():
        raise StorageError(f"{file} is not a file.")
    return sqlite3.connect(file, timeout=BUSY_SECONDS)


def _check(database: sqlite3.Connection, file: Path) -> None:
    (found,) = database.execute("PRAGMA integrity_check(1)").fetchone()
    if found != "ok":
        raise StorageError(f"{file} is damaged: {found}")
    if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'sessions'").fetchone():
        raise StorageError(f"{file} is not a database of Lex.")


def main(environment: Mapping[str, str], arguments: Sequence[str]) -> int:
    """Return the exit code. An error is one line on stderr."""
    files = [Path(each) for each in arguments if each != "--restore"]
    if len(files) != 1 or str(files[0]).startswith("-"):
        sys.stderr.write("usage: python -m backend.storage.sql.backup [--restore] FILE\n")
        return 2
    try:
        database = _database(environment.get("DATABASE_URL", ""))
        if "--restore" in arguments:
            restore(files[0], database)
        else:
            back_up(database, files[0])
    except (StorageError, sqlite3.Error, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _database(database_url: str) -> Path:
    url = parse(database_url or "sqlite:///lex.db")
    if url.get_backend_name() != "sqlite":
        raise StorageError("DATABASE_URL is not SQLite: back Postgres up with pg_dump.")
    return Path(str(url.database))


if __name__ == "__main__":
    sys.exit(main(os.environ, sys.argv[1:]))
