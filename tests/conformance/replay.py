"""Play recorded wires to a client, and keep what the client sent.

    GET /                       all exchanges, with their addresses and what a client must see
    POST /<exchange>/query      the next connection of the exchange
    GET /<exchange>/verdict     how the client behaved, by run

Any other path under `/<exchange>/` plays it too, by both methods.
A run is what one `Idempotency-Key` asks; without the header, there is one run.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import yaml

from tests.conformance.exchanges import CLIENTS, SUITE


@dataclass(frozen=True)
class Connection:
    frames: Sequence[str] = ()
    status: int = 200
    after: str | Sequence[str | None] | None = None
    cut: str | None = None
    bytes_at_a_time: int = 65_536
    optional: bool = False

    @property
    def places(self) -> Sequence[str | None]:
        """The values that `Last-Event-ID` may have; None is a request without it."""
        if self.after is None or isinstance(self.after, str):
            return [self.after]
        return self.after

    @property
    def wire(self) -> bytes:
        """What is sent. `cut` is the part of the last frame that is sent of it."""
        whole = [f"{frame}\n\n" for frame in self.frames]
        if self.cut is not None:
            assert whole[-1].startswith(self.cut)
            whole[-1] = self.cut
        return "".join(whole).encode()


@dataclass(frozen=True)
class Wire:
    """An exchange for clients."""

    id: str
    shows: Sequence[str]
    connections: Sequence[Connection]
    seen: Sequence[Sequence[str]]


@dataclass
class Run:
    """The requests of one client, and what was wrong with them."""

    requests: int = 0
    wrong: list[str] = field(default_factory=list)

    def next(self, wire: Wire, last_event_id: str | None) -> Connection | None:
        self.requests += 1
        if self.requests > len(wire.connections):
            self.wrong.append(f"request {self.requests} came after everything was read")
            return None
        connection = wire.connections[self.requests - 1]
        if last_event_id not in connection.places:
            self.wrong.append(
                f"request {self.requests} has the Last-Event-ID {last_event_id!r}, "
                f"and not {connection.after!r}"
            )
            return None
        return connection

    def verdict(self, wire: Wire) -> list[str]:
        """Return the client's faults; none if it did all that the exchange wants."""
        wanted = sum(not connection.optional for connection in wire.connections)
        missing = [f"{self.requests} requests came, and not {wanted}"]
        return self.wrong + (missing if self.requests < wanted else [])


def wires(folder: Path = SUITE) -> dict[str, Wire]:
    written = yaml.safe_load((folder / CLIENTS).read_text())["exchanges"]
    found = [
        Wire(**{**each, "connections": [Connection(**one) for one in each["connections"]]})
        for each in written
    ]
    return {wire.id: wire for wire in found}


class Replay(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int = 0, played: Mapping[str, Wire] | None = None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.wires = wires() if played is None else played
        self.runs: dict[tuple[str, str], Run] = defaultdict(Run)
        self.lock = Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def index(self) -> list[dict[str, Any]]:
        return [
            {"url": f"{self.url}/{id_}/query", "shows": wire.shows, "seen": wire.seen}
            for id_, wire in self.wires.items()
        ]

    def verdicts(self, id_: str) -> dict[str, list[str]]:
        """Return the faults of each run of an exchange."""
        with self.lock:
            runs = {key: run for (wire, key), run in self.runs.items() if wire == id_}
            return {key: run.verdict(self.wires[id_]) for key, run in runs.items()}


@contextmanager
def replaying() -> Iterator[Replay]:
    with Replay() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Replay

    def do_GET(self) -> None:
        id_, _, rest = self.path.strip("/").partition("/")
        if not id_:
            self._json(200, self.server.index())
        elif rest == "verdict" and id_ in self.server.wires:
            self._json(200, self.server.verdicts(id_))
        else:
            self._play(id_)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._play(self.path.strip("/").partition("/")[0])

    def _play(self, id_: str) -> None:
        wire = self.server.wires.get(id_)
        if wire is None:
            self._json(404, {"detail": f"no exchange has the id {id_!r}"})
            return
        with self.server.lock:
            run = self.server.runs[id_, self.headers.get("Idempotency-Key", "")]
            connection = run.next(wire, self.headers.get("Last-Event-ID"))
        if connection is None:
            self._json(422, {"code": "invalid_field", "detail": run.wrong[-1]})
        else:
            self._send(connection)

    def _send(self, connection: Connection) -> None:
        self.send_response(connection.status)
        if connection.status == 204:
            self.end_headers()
            return
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        size = connection.bytes_at_a_time
        for start in range(0, len(connection.wire), size):
            piece = connection.wire[start : start + size]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        if connection.cut is None:
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.close_connection = True

    def _json(self, status: int, body: Any) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it
        """Keep quiet: the verdict tells what came."""
