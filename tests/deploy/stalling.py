"""Clients that ask for a long answer and do not read it, over either transport."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import cycle

from infrastructure.groq_standin import Standin
from tests.deploy.servers import Deployed, connected_peers
from tests.waiting import waiting

SEND_TIMEOUT_SECONDS = 1.5
PATIENCE = {
    "SEND_TIMEOUT_SECONDS": str(SEND_TIMEOUT_SECONDS),
    # An answer that stalls a client is longer than the default allows.
    "MAX_COMPLETION_BYTES": "1000000000",
}

QUERY = "Tell me everything"
WORD_BYTES = 2048

Ask = Callable[[socket.socket], None]


def over_http(client: socket.socket) -> None:
    body = json.dumps({"query": QUERY}).encode()
    client.sendall(
        b"POST /query HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )


def over_a_websocket(client: socket.socket) -> None:
    client.sendall(
        b"GET /ws/sessions/s%d HTTP/1.1\r\nhost: localhost\r\nupgrade: websocket\r\n"
        b"connection: Upgrade\r\nsec-websocket-key: bm90IGEgc2VjcmV0IGtleQ==\r\n"
        b"sec-websocket-version: 13\r\n\r\n" % client.getsockname()[1]
    )
    assert client.recv(4096).startswith(b"HTTP/1.1 101 ")
    final_text, masked, mask = 0x81, 0x80, bytes(4)
    client.sendall(bytes([final_text, masked | len(QUERY)]) + mask + QUERY.encode())


EITHER_WAY = (over_http, over_a_websocket)


def behind(event_id: str) -> Ask:
    """Ask for the events of a turn after one of them."""

    def ask(client: socket.socket) -> None:
        client.sendall(
            f"GET /turns/{event_id.partition('-')[0]}/events HTTP/1.1\r\nhost: localhost\r\n"
            f"last-event-id: {event_id}\r\n\r\n".encode()
        )

    return ask


@contextmanager
def stalled(port: int, clients: int, ways: Sequence[Ask]) -> Iterator[list[socket.socket]]:
    """Open this many clients that ask, in turn in each of the ways, and do not read."""
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.socket()) for _ in range(clients)]
        for client, ask in zip(opened, cycle(ways), strict=False):
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            # The segment size of a real network. With the loopback's 64 KiB, kernels buffer
            # megabytes.
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
            client.connect(("127.0.0.1", port))
            ask(client)
        yield opened


def say_everything(standin: Standin, *, words_per_second: int) -> None:
    """Have the model answer with an endless text of long words."""
    text = " ".join(["x" * WORD_BYTES] * 20_000)
    standin.script(
        {"text": text, "tokens_per_second": words_per_second}, contains=QUERY, times=None
    )


async def until_gone(service: Deployed, clients: Sequence[socket.socket]) -> None:
    """Wait until the kernel has no socket of the service to any of these clients."""
    peers = {client.getsockname()[1] for client in clients}
    async with waiting():
        while peers & connected_peers(service.port):
            await asyncio.sleep(0.05)


PACE_BYTES = 20_000
"""What `drip` reads in a second."""


async def drip(client: socket.socket) -> None:
    """Read far more slowly than the service sends, and at one pace on a busy machine too."""
    loop = asyncio.get_running_loop()
    client.setblocking(False)
    begun, read = loop.time(), 0
    with suppress(OSError):
        while data := await loop.sock_recv(client, 2048):
            read += len(data)
            await asyncio.sleep(begun + read / PACE_BYTES - loop.time())
