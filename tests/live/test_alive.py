"""The health check of the image follows the service to its address."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deploy.alive import is_alive
from infrastructure.ports import free_port
from tests.deploy.servers import GUNICORN
from tests.processes import process
from tests.waiting import waiting


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/livez" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def answering(address: str) -> Iterator[int]:
    """Answer at this address and no other; yields the port."""

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in address else socket.AF_INET

    with Server((address, 0), Answering) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("0.0.0.0", "127.0.0.1"),  # noqa: S104 - nothing binds it
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.2", "127.0.0.2"),
        ("localhost", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("::", "::1"),
        ("[::]", "::1"),
        ("0:0:0:0:0:0:0:0", "::1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
    ],
)
def test_it_asks_where_the_service_listens(host: str, address: str) -> None:
    with answering(address) as port:
        assert is_alive({"HOST": host, "PORT": str(port)})


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_it_asks_nowhere_else(host: str) -> None:
    with answering("127.0.0.2") as port:
        assert not is_alive({"HOST": host, "PORT": str(port)})


async def test_a_service_with_other_host_names_still_answers() -> None:
    variables = {
        "HOST": "[::1]",
        "PORT": str(free_port()),
        "ALLOWED_HOSTS": "lex.example.com",
        "DATABASE_URL": "memory://",
    }

    async with process(*GUNICORN, variables=variables), waiting():
        while not await asyncio.to_thread(is_alive, variables):
            await asyncio.sleep(0.05)
