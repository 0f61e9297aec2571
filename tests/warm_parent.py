"""A parent of warm processes; `tests/warm_start.py` explains them.

    python -m tests.warm_parent <address> service|libraries

It has one thread and opens nothing of the service, so each fork starts like a fresh Python that has
imported the same modules. Only caches of unchanging files are filled already. Imports wait for the
first request, so an unused parent costs almost nothing. A request is one connection. It sends the
length of a JSON object together with the file descriptors for the three standard streams, and then
the object. The answer is two lines: the process id, and at the end of the process its exit code
(negative for a signal, as in `subprocess`).
"""

import gc
import importlib
import json
import os
import runpy
import select
import socket
import sys
from dataclasses import dataclass
from typing import Any

MODULES = {
    "service": (
        *("uvicorn", "backend.main", "backend.server.server", "backend.storage.sql.migrate"),
        "groq.resources",  # the SDK imports it at the first call
        # Others that a start imports late.
        *("anyio._backends._asyncio", "fastapi.telemetry._runtime"),
        *("uvicorn.lifespan.on", "uvicorn.loops.uvloop"),
    ),
    # Most of the time of the service's imports. A missing one only costs time.
    "libraries": (
        *(
            "aiohttp",
            "alembic.command",
            "brotli",
            "cryptography.fernet",
            "fastapi",
            "groq.resources",
        ),
        *("gunicorn.app.wsgiapp", "gunicorn.workers.base", "jwt", "limits.aio"),
        *("msgspec", "opentelemetry.sdk.trace.export", "psycopg", "pydantic_settings"),
        *("redis.asyncio", "slowapi", "sqlalchemy.ext.asyncio", "sse_starlette", "structlog"),
        *("uvicorn.protocols.http.httptools_impl", "websockets.asyncio.server"),
    ),
}
CACHES = {
    # The certificates of this machine and the files of the page: 40 ms of a start.
    "service": (("backend.llm.groq.client", "_trusted"), ("backend.api.page", "prepare")),
    "libraries": (),
}
STREAMS = 3


@dataclass(frozen=True)
class Command:
    arguments: list[str]
    """The arguments of `python`."""
    variables: dict[str, str]
    """The whole environment of the process."""
    streams: list[int]
    """The descriptors that become its standard input, output and error."""

    def run(self) -> None:
        """Turn this fork into the requested process."""
        for number, stream in enumerate(self.streams):
            os.dup2(stream, number)
        self.close_streams()
        os.environ.clear()
        os.environ.update(self.variables)
        flag, module, *arguments = self.arguments
        assert flag == "-m", self
        sys.argv = [module, *arguments]
        imported = sys.modules.get(module)
        if imported is not None and not hasattr(imported, "__path__"):
            # As with `python -m`: the module runs as `__main__`, and others import a new copy.
            del sys.modules[module]
        runpy.run_module(module, run_name="__main__", alter_sys=True)

    def close_streams(self) -> None:
        for stream in self.streams:
            os.close(stream)


class Parent:
    def __init__(self, address: str, kind: str) -> None:
        self._kind = kind
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen(64)
        self._children: dict[int, tuple[int, socket.socket]] = {}
        """For the descriptor of each process: its id, and the connection that awaits its end."""

    def serve(self) -> Command | None:
        """Serve requests. Returns the command in each child, and None in the parent at the end."""
        while True:
            ready = select.select([sys.stdin, self._listener, *self._children], [], [])[0]
            if sys.stdin in ready:
                return None
            for descriptor in self._children.keys() & ready:
                self._tell_its_end(descriptor)
            if self._listener in ready and (command := self._fork()):
                return command

    def _fork(self) -> Command | None:
        line, _ = self._listener.accept()
        self._import()
        command = _received(line)
        if pid := os.fork():
            command.close_streams()
            line.sendall(f"{pid}\n".encode())
            self._children[os.pidfd_open(pid)] = (pid, line)
            return None
        line.close()
        self._forget_all()
        return command

    def _import(self) -> None:
        for module in MODULES[self._kind]:
            importlib.import_module(module)
        for module, fill in CACHES[self._kind]:
            getattr(sys.modules[module], fill)()
        # A garbage collection in a fork would copy the memory of all modules.
        gc.freeze()

    def _forget_all(self) -> None:
        self._listener.close()
        for descriptor, (_, line) in self._children.items():
            os.close(descriptor)
            line.close()

    def _tell_its_end(self, descriptor: int) -> None:
        pid, line = self._children.pop(descriptor)
        os.close(descriptor)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        with line:
            line.sendall(f"{code}\n".encode())


def _received(line: socket.socket) -> Command:
    head, descriptors, _, _ = socket.recv_fds(line, 4, STREAMS)
    length, received = int.from_bytes(head, "big"), b""
    while len(received) < length:
        received += line.recv(length - len(received))
    request: Any = json.loads(received)
    return Command(request["arguments"], request["variables"], descriptors)


def main() -> None:
    parent = Parent(sys.argv[1], sys.argv[2])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if command := parent.serve():
        command.run()


if __name__ == "__main__":
    main()
