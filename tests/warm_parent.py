"""The parent of warm processes; `tests/warm_start.py` explains them.

It has one thread and opens nothing of the service, so each fork starts like a fresh Python that
has imported the same modules. A request is one connection. It sends the length of a JSON object
together with the file descriptor for standard error, and then the object. The answer is two lines:
the process id, and at the end of the process its exit code (negative for a signal, as in
`subprocess`).
"""

import json
import os
import runpy
import select
import socket
import sys
from dataclasses import dataclass
from typing import Any

import uvicorn

import backend.main
import backend.server.server

IMPORTED = (uvicorn, backend.main, backend.server.server)


@dataclass(frozen=True)
class Command:
    arguments: list[str]
    """The arguments of `python`."""
    variables: dict[str, str]
    """The whole environment of the process."""
    stderr: int

    def run(self) -> None:
        """Turn this fork into the requested process."""
        os.dup2(self.stderr, sys.stderr.fileno())
        os.close(self.stderr)
        os.environ.clear()
        os.environ.update(self.variables)
        flag, module, *arguments = self.arguments
        assert flag == "-m", self
        sys.argv = [module, *arguments]
        if not hasattr(sys.modules[module], "__path__"):
            # As with `python -m`: the module runs as `__main__`, and others import a new copy.
            del sys.modules[module]
        runpy.run_module(module, run_name="__main__", alter_sys=True)


class Parent:
    def __init__(self, address: str) -> None:
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
        command = _received(line)
        if pid := os.fork():
            os.close(command.stderr)
            line.sendall(f"{pid}\n".encode())
            self._children[os.pidfd_open(pid)] = (pid, line)
            return None
        line.close()
        self._forget_all()
        return command

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
    head, descriptors, _, _ = socket.recv_fds(line, 4, 1)
    length, received = int.from_bytes(head, "big"), b""
    while len(received) < length:
        received += line.recv(length - len(received))
    request: Any = json.loads(received)
    return Command(request["arguments"], request["variables"], descriptors[0])


def main() -> None:
    parent = Parent(sys.argv[1])
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    if command := parent.serve():
        command.run()


if __name__ == "__main__":
    main()
