"""A real Arize Phoenix, which receives spans and shows the conversations in them."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from infrastructure.ports import free_port
from tests.processes import ROOT
from tests.waiting import waiting

PROGRAM = ROOT / ".venv/phoenix/bin/phoenix"

SESSIONS = """{
  projects { edges { node { id sessions(first: 50) { edges { node {
    id sessionId firstInput { value } lastOutput { value }
    traces(first: 50) { edges { node {
      rootSpan { name statusCode }
      spans(first: 50) { edges { node {
        name spanKind statusCode attributes input { value } output { value }
      } } }
    } } }
  } } } } } }
}"""


@dataclass(frozen=True)
class Phoenix:
    url: str
    client: httpx.AsyncClient

    async def sessions(self, *, traces: int) -> list[dict[str, Any]]:
        """Wait until Phoenix knows so many whole traces with a session; return the sessions.

        A session has the path of its page as `page`, and lists in place of GraphQL's edges.
        """
        async with waiting():
            while True:
                answer = await self.client.post("/graphql", json={"query": SESSIONS})
                found = answer.json()
                assert "errors" not in found, found
                sessions = [
                    {**session, "page": f"/projects/{project['id']}/sessions/{session['id']}"}
                    for project in _nodes(found["data"]["projects"])
                    for session in project["sessions"]
                ]
                # Phoenix stores spans one after the other, and the root of a trace ends last. A
                # page that is opened before does not follow.
                known = [trace for session in sessions for trace in session["traces"]]
                if len(known) >= traces and all(trace["rootSpan"] for trace in known):
                    return sessions
                await asyncio.sleep(0.2)


def _nodes(connection: Any) -> list[dict[str, Any]]:
    return [_flat(edge["node"]) for edge in connection["edges"]]


def _flat(node: dict[str, Any]) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        return _nodes(value) if isinstance(value, dict) and "edges" in value else value

    return {name: plain(value) for name, value in node.items()}


@asynccontextmanager
async def running_phoenix(folder: Path) -> AsyncIterator[Phoenix]:
    assert PROGRAM.exists(), "Phoenix is missing: make .venv/phoenix"
    port = free_port()
    variables = {
        "PHOENIX_WORKING_DIR": str(folder),
        "PHOENIX_HOST": "127.0.0.1",
        "PHOENIX_PORT": str(port),
        "PHOENIX_GRPC_PORT": str(free_port()),
        "PHOENIX_TELEMETRY_ENABLED": "false",
        "PHOENIX_ALLOW_EXTERNAL_RESOURCES": "false",
        "PHOENIX_DISABLE_AGENT_ASSISTANT": "true",
    }
    with (folder / "phoenix.log").open("wb") as log:
        running = await asyncio.create_subprocess_exec(
            PROGRAM, "serve", env={**os.environ, **variables}, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            await _ready(client)
            yield Phoenix(url, client)
    finally:
        running.terminate()
        await running.wait()


async def _ready(client: httpx.AsyncClient) -> None:
    async with waiting():
        while True:
            try:
                if (await client.get("/healthz")).is_success:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)
