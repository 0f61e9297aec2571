"""The file of a SQLite database, which must stay the one that was opened.

SQLite notices neither a file that was deleted nor one that was put into its place: it goes on
writing to what nobody will ever find again.
"""

from pathlib import Path

from backend.domain.errors import StorageError

Identity = tuple[int, int]
"""Device and inode."""


class SqliteFile:
    def __init__(self, path: str) -> None:
        self._path = Path(path).absolute()
        self._opened: Identity | None = None

    def opened(self) -> None:
        """A connection was made: the first one says which file it is.

        Not before: the file of a new database is made by its first connection.
        """
        self._opened = self._opened or self._identity()

    def check(self) -> None:
        """Raises: StorageError, if the file is another one than was opened."""
        if self._opened is None or (found := self._identity()) == self._opened:
            return
        what = "deleted or moved" if found is None else "replaced"
        raise StorageError(
            reason=f"The database file was {what} while it was open: "
            "put it back, or restart to begin with what is there."
        )

    def _identity(self) -> Identity | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_dev, stat.st_ino
