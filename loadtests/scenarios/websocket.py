"""Users who have several turns on one WebSocket."""

import json
from collections.abc import Iterator
from typing import Any

import websocket
from locust import task

from loadtests.asked import answered
from loadtests.asking import Scenario, new_session
from loadtests.sse import Frame, StreamFailed, whole

TURNS = 3


class WebSocket(Scenario):
    scenario = "websocket"
    transport = "WS"
    asked = answered("What makes the Veloce Spider special?", tokens=60, per_second=40)
    first_chunk_seconds = asked.first_chunk_seconds

    @task
    def converse(self) -> None:
        connection: websocket.WebSocket | None = None
        with self.telling("connect"):
            connection = self.connect()
        if connection is None:
            return
        try:
            for _ in range(TURNS):
                if not self.answer(connection):
                    break
        finally:
            connection.close(timeout=1)

    def answer(self, connection: websocket.WebSocket) -> list[Frame]:
        """Run one turn. Empty if it failed."""
        with self.telling() as timer:
            _sent(connection, {"type": "query", "query": self.query(self.asked)})
            return list(timer.heard(whole(frames(connection))))
        return []

    def connect(self) -> websocket.WebSocket:
        address = f"{self.host}/ws/sessions/{new_session()}".replace("http", "ws", 1)
        try:
            return websocket.create_connection(address, timeout=60)
        except (OSError, websocket.WebSocketException) as error:
            raise StreamFailed(f"no connection: {type(error).__name__}") from error


def _sent(connection: websocket.WebSocket, question: dict[str, Any]) -> None:
    try:
        connection.send(json.dumps(question))
    except (OSError, websocket.WebSocketException) as error:
        raise StreamFailed("the connection was cut before the query") from error


def frames(connection: websocket.WebSocket) -> Iterator[Frame]:
    """Yield the messages of a turn as frames, up to its end."""
    while True:
        try:
            told = json.loads(connection.recv())
        except websocket.WebSocketTimeoutException as error:
            raise StreamFailed("the stream fell silent") from error
        except (OSError, websocket.WebSocketException) as error:
            raise StreamFailed("the stream was cut before its end") from error
        data = told.get("data", "")
        yield Frame(
            told["type"], data if isinstance(data, str) else json.dumps(data), told.get("id")
        )
        # A refusal is an error without an id, and without an `end` after it.
        if told["type"] == "end" or "id" not in told:
            return
