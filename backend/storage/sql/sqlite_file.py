"""Notices when the file of a SQLite database is deleted or replaced while it is open.

SQLite does not notice either. It goes on writing to the old file, which nobody can open any more.
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
        """Remember the file's identity. Call it for each new connection; the first one counts.

        An earlier time would be too early, because the first connection creates a new file.
        """
        self._opened = self._opened or self._identity()

    def check(self) -> None:
        """Raises: StorageError, if the file at the path is no longer the one that was opened."""
        if self._opened is None or (found := self._identity()) == self._opened:
            return
        what = "deleted or moved" if found is None else "replaced"
        raise StorageError(
            reason=f"The database file was {what} while it was open: "
            "put it back, or restart to use the file that is there now."
        )

    def _identity(self) -> Identity | None:
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_dev, stat.st_ino
