"""The log has a line for each turn and each request, and quotes nobody."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from backend.telemetry.turn_clock import Part
from infrastructure.groq_standin import Standin
from infrastructure.ports import free_port
from tests.deploy.servers import GUNICORN, PLAIN, Deployed, deployed
from tests.otlp import collecting
from tests.processes import process, ready

SECRET = "a-thing-nobody-may-repeat"


def lines(service: Deployed) -> list[dict[str, Any]]:
    """All lines of the log, parsed from JSON."""
    return [json.loads(line) for line in service.log.read_text().splitlines()]


async def ask(service: Deployed, query: str, session_id: str) -> None:
    answer = await service.client.post("/query", json={"query": query, "session_id": session_id})
    assert answer.status_code == 200


async def test_a_turn_is_one_line_with_all_that_explains_it(
    standin: Standin, tmp_path: Path
) -> None:
    standin.script(
        {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]},
        {"text": "Mild.", "first_token_after": 0.2},
    )
    with collecting() as collector:
        where = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        async with deployed(PLAIN, standin, tmp_path, **where) as service:
            await ask(service, "Weather?", "s1")
            await service.until_said("request_finished", times=1)

    (turn,) = service.lines("turn_finished")
    (request,) = service.lines("request_finished")
    assert list(turn)[:3] == ["timestamp", "level", "event"]
    assert service.lines("upstream_attempt") == []
    span = collector.one("invoke_agent lex")
    assert (turn["trace_id"], turn["span_id"]) == (span.trace_id, span.id)
    assert (turn["outcome"], turn["finish_reason"]) == ("completed", "stop")
    assert turn["transport"] == "sse"
    assert turn["model"] == "groq-standin/llama-3.3-70b-versatile"
    assert (turn["rounds"], turn["tools"]) == (2, 1)
    assert turn["input_tokens"] > 0
    assert turn["output_tokens"] > 0
    assert 0.2 < turn["first_chunk_seconds"] < turn["seconds"]
    parts = {part: turn[f"{part}_seconds"] for part in Part}
    assert 0.2 < parts[Part.MODEL] + parts[Part.QUEUE] < turn["seconds"]
    assert 0 < parts[Part.TOOLS] < turn["seconds"]
    assert sum(parts.values()) == pytest.approx(turn["seconds"], abs=0.001)
    assert request["request_id"] == turn["request_id"]
    assert request["trace_id"] == turn["trace_id"]


@pytest.mark.parametrize("command", [PLAIN, GUNICORN], ids=["plain", "gunicorn"])
async def test_a_request_is_one_line_that_names_its_route(
    command: tuple[str, ...], standin: Standin, tmp_path: Path
) -> None:
    async with deployed(command, standin, tmp_path) as service:
        for path in ("/health", "/livez", "/readyz", "/metrics"):
            await service.client.get(path)
        await service.client.get(f"/sessions/{SECRET}/messages")
        await service.client.get("/query", params={"query": SECRET})
        await service.client.get(f"/{SECRET}")
        url = str(service.client.base_url).replace("http", "ws")
        async with connect(f"{url}/ws/sessions/{SECRET}", proxy=None) as socket:
            await socket.send(SECRET)
            while json.loads(await socket.recv())["type"] != "end":
                pass
        await service.until_said("request_finished", times=4)

    said = [
        (line["method"], line["route"], line["status"])
        for line in service.lines("request_finished")
    ]
    assert sorted(said, key=str) == [
        ("GET", "/query", 200),
        ("GET", "/sessions/{session_id}/messages", 404),
        ("GET", None, 404),
        ("WEBSOCKET", "/ws/sessions/{session_id}", 101),
    ]
    assert {turn["transport"] for turn in service.lines("turn_finished")} == {"sse", "websocket"}
    assert lines(service)
    assert SECRET not in service.log.read_text()


async def test_what_breaks_is_told_without_what_was_said(standin: Standin, tmp_path: Path) -> None:
    fault = {"kind": "status", "status": 500, "message": SECRET}
    standin.script({"text": "late", "fault": fault}, contains=SECRET, times=None)
    wrong = {"calls": [{"name": SECRET, "arguments": {"city": SECRET}}]}
    standin.script(wrong, {"text": SECRET}, contains="Wrong")
    variables = {"LOG_LEVEL": "DEBUG", "MODEL_FALLBACKS": "openai/gpt-oss-120b"}
    async with deployed(PLAIN, standin, tmp_path, **variables) as service:
        await ask(service, SECRET, "s1")
        await ask(service, "Wrong", "s2")
        await service.client.post("/query", json={"query": {"what": SECRET}})
        await service.until_said("request_finished", times=3)

    assert len(service.lines("upstream_attempt")) == 8
    assert SECRET not in service.log.read_text()


async def test_plain_uvicorn_has_the_same_lines_and_no_access_log(
    standin: Standin, tmp_path: Path
) -> None:
    variables = {"GROQ_BASE_URL": standin.url, "DATABASE_URL": f"sqlite:///{tmp_path}/lex.db"}
    port, log = free_port(), tmp_path / "log"
    command = ("-m", "uvicorn", "backend.main:app", "--port", str(port))
    with log.open("wb") as stderr:
        async with (
            process(*command, variables=variables, stderr=stderr) as running,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client,
        ):
            await ready(client, running)
            await client.get("/query", params={"query": SECRET})

    written = [line for line in log.read_text().splitlines() if line.startswith("{")]
    assert "request_finished" in [json.loads(line)["event"] for line in written]
    assert SECRET not in log.read_text()
