"""Runs a program, and starts it again when a file in a folder changes.

    python reload.py FOLDER COMMAND…

Unlike uvicorn's own reload, this runs any server. It only needs the standard library, because it
runs in the image of Lex.
"""

import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType

EVERY_SECONDS = 0.5
"""How often it looks. Files of a container's mount announce no changes on every system."""

Times = dict[Path, int]


def times_in(folder: Path) -> Times:
    """When each source file was changed."""
    found: Times = {}
    for file in folder.rglob("*"):
        try:
            if "__pycache__" not in file.parts and file.is_file():
                found[file] = file.stat().st_mtime_ns
        except FileNotFoundError:  # deleted in between
            continue
    return found


def main() -> int:
    folder, *command = sys.argv[1:]
    stopping = threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    while True:
        before = times_in(Path(folder))
        with subprocess.Popen(command) as program:
            while not stopping.wait(EVERY_SECONDS) and times_in(Path(folder)) == before:
                pass
            program.terminate()
            if stopping.is_set():
                return program.wait()
            print("Reloading...", flush=True)
            program.terminate()  # a second signal stops Lex without a wait for its streams


if __name__ == "__main__":
    sys.exit(main())
