"""Users who read a long answer more slowly than it is written, and must get all of it."""

import json
import socket
import time
from http.client import HTTPConnection, HTTPResponse
from urllib.parse import urlsplit

from locust import task

from loadtests import sse
from loadtests.asked import Asked
from loadtests.asking import Refused, Scenario, new_session, reading
from loadtests.sse import StreamFailed, whole

TOKENS = 3_000
"""Written at once and forwarded within a second: 20 kilobytes with its frames."""

BYTES_PER_SECOND = 6_000

BUFFER_BYTES = 4096
"""Receive buffer of the kernel, whose default would take megabytes for a slow reader."""


class SlowReader(Scenario):
    scenario = "slow reader"
    asked = Asked("Write a very long story about the Apex GT.", ({"tokens": TOKENS},))

    @task
    def read_slowly(self) -> None:
        with self.telling() as timer:
            connection = self.connect()
            try:
                stream = sse.frames(slowly(self.ask(connection)))
                frames = list(timer.heard(whole(stream)))
            finally:
                connection.close()
            text = "".join(frame.data for frame in frames if frame.event == "chunk")
            if not self.options.real_model and len(text.split()) != TOKENS:
                raise StreamFailed("text is missing")

    def connect(self) -> HTTPConnection:
        """Connect over plain HTTP, as behind a proxy that ends TLS."""
        place = urlsplit(str(self.host))
        connection = HTTPConnection(place.hostname or "", place.port)
        connection.sock = socket.socket()
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        connection.sock.settimeout(60)
        try:
            connection.sock.connect((connection.host, connection.port))
        except OSError as error:
            connection.close()
            raise StreamFailed(f"no connection: {type(error).__name__}") from error
        return connection

    def ask(self, connection: HTTPConnection) -> HTTPResponse:
        body = json.dumps({"query": self.query(self.asked), "session_id": new_session()})
        with reading():
            connection.request("POST", "/query", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            if response.status != 200:
                raise Refused.of(
                    response.status, response.read(), response.headers.get("retry-after")
                )
        return response


def slowly(response: HTTPResponse) -> sse.Readline:
    def line() -> bytes:
        with reading():
            read = response.readline()
        time.sleep(len(read) / BYTES_PER_SECOND)
        return read

    return line
