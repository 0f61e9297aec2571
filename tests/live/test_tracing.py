"""The spans of turns that a collector receives: their parents and their attributes."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import connect

from backend.telemetry import wait_spans
from infrastructure.groq_standin import Standin
from tests.doors import DOORS
from tests.fakes import Gates, echo, refuse
from tests.live.test_disconnect import asking, outcome_of, script
from tests.otlp import Collector, Span, collecting
from tests.processes import lex_process
from tests.serving import Lex, lex
from tests.waiting import waiting

TURN = "invoke_agent lex"
LLAMA, OSS = "llama-3.3-70b-versatile", "openai/gpt-oss-120b"
SECRET = "a-thing-nobody-may-repeat"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector for the spans of services that start; they are sent at the end at the latest."""
    with collecting() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        yield running


def called(name: str, **arguments: str) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


async def test_a_turn_names_the_door_by_which_it_came(collector: Collector, tmp_path: Path) -> None:
    async with lex(database_url=f"sqlite:///{tmp_path}/lex.db") as service:
        for door in DOORS:
            body, headers = door.body("s1", "Hello"), door.headers("s1")
            answer = await service.client.post(door.path, json=body, headers=headers)
            assert answer.status_code == 200

    turns = [span for span in collector.spans if span.name == TURN]
    assert [turn.attributes["lex.door"] for turn in turns] == [door.name for door in DOORS]
    requests = {span.id: span.name for span in collector.spans if span.kind == "server"}
    assert [requests[turn.parent_id] for turn in turns] == [f"POST {door.path}" for door in DOORS]


async def test_all_spans_of_a_turn_hang_together_and_say_what_they_should(
    collector: Collector, tmp_path: Path
) -> None:
    async with lex(tools=(echo, refuse), database_url=f"sqlite:///{tmp_path}/lex.db") as service:
        service.standin.script(
            {"calls": [called("echo", word=SECRET), called("refuse", word=SECRET)]},
            {"text": f"{SECRET} it is.", "usage": {"prompt_tokens": 12, "completion_tokens": 3}},
        )
        await service.ask(SECRET, "s1")

    server = collector.one("POST /query")
    assert (server.kind, server.parent_id) == ("server", "")
    assert server.attributes["http.route"] == server.attributes["url.path"] == "/query"
    assert server.attributes["http.response.status_code"] == 200
    assert server.attributes["lex.stream.outcome"] == "read"
    assert not [name for name in server.attributes if name.startswith(("client.", "user_agent."))]
    turn = collector.one(TURN)
    assert (turn.kind, turn.parent_id) == ("internal", server.id)
    assert turn.attributes["gen_ai.operation.name"] == "invoke_agent"
    assert turn.attributes["gen_ai.conversation.id"] == "s1"
    assert turn.attributes["lex.door"] == "sse"
    assert turn.attributes["gen_ai.request.model"] == LLAMA
    assert (turn.attributes["lex.outcome"], turn.attributes["lex.rounds"]) == ("completed", 2)
    assert not turn.is_error
    first, second = collector.named(f"chat {LLAMA}")
    tools = collector.named("execute_tool echo") + collector.named("execute_tool refuse")
    for chat in (first, second):
        assert chat.attributes["gen_ai.conversation.id"] == "s1"
        assert chat.attributes["server.address"] == "127.0.0.1"
        assert service.standin.url.endswith(f":{chat.attributes['server.port']}")
    for span in (turn, first, *tools):
        assert span.schema_url == "https://opentelemetry.io/schemas/1.41.1"
    for span in (first, second, *tools):
        assert (span.trace_id, span.parent_id) == (server.trace_id, turn.id)
        assert turn.begun <= span.begun <= span.ended <= turn.ended
    assert_a_whole_completion(second)
    assert first.attributes["gen_ai.response.finish_reasons"] == ["tool_calls"]
    assert [tool.attributes["lex.outcome"] for tool in tools] == ["ok", "refused"]
    for tool in tools:
        assert tool.kind == "internal"
        assert tool.attributes["gen_ai.operation.name"] == "execute_tool"
        assert tool.attributes["gen_ai.tool.type"] == "function"
        assert tool.attributes["gen_ai.tool.call.id"]
        assert tool.attributes["gen_ai.tool.description"]
        assert first.ended <= tool.begun <= tool.ended <= second.begun
        assert not tool.is_error
    assert SECRET not in repr(collector.spans)


def assert_a_whole_completion(chat: Span) -> None:
    said = chat.attributes
    assert chat.kind == "client"
    assert not chat.is_error
    assert "error.type" not in said
    assert said["gen_ai.operation.name"] == "chat"
    assert said["gen_ai.provider.name"] == "groq"
    assert said["gen_ai.request.model"] == LLAMA
    assert said["gen_ai.request.stream"] is True
    assert said["gen_ai.response.id"].startswith("chatcmpl-")
    assert said["gen_ai.response.model"] == f"groq-standin/{LLAMA}"
    assert said["gen_ai.response.finish_reasons"] == ["stop"]
    assert 0 < said["gen_ai.response.time_to_first_chunk"] < 10
    assert said["gen_ai.usage.input_tokens"] == 12
    assert said["gen_ai.usage.output_tokens"] == 3


async def test_each_call_of_a_model_is_a_span_and_those_that_failed_say_why(
    collector: Collector,
) -> None:
    async with lex() as service:
        unavailable = {"kind": "status", "status": 503}
        service.standin.script({"text": "Here.", "fault": unavailable}, model=LLAMA, times=None)
        service.standin.script({"text": "Here."}, model=OSS, times=None)
        await service.ask("Hello")

    below = collector.under(collector.one(TURN))
    chat, wait = f"chat {LLAMA}", f"wait {LLAMA}"
    assert [span.name for span in below] == [chat, wait, chat, wait, chat, f"chat {OSS}"]
    waits = [span for span in below if span.name == wait]
    assert {span.attributes["lex.wait.reason"] for span in waits} == {"back_off"}
    attempts = [span for span in below if span.name != wait]
    errors = [span.attributes.get("error.type") for span in attempts]
    assert errors == ["upstream_unavailable"] * 3 + [None]
    assert [span.is_error for span in attempts] == [True, True, True, False]
    assert collector.one(TURN).attributes["lex.outcome"] == "completed"


async def test_a_call_that_had_to_be_repaired_failed_and_its_tool_ran(collector: Collector) -> None:
    lost = {"kind": "tool_use_failed", "failed_generation": json.dumps(called("echo", word="a"))}
    async with lex(tools=(echo,)) as service:
        service.standin.script({"text": "unused", "fault": {**lost, "times": 1}}, {"text": "a"})
        await service.ask("Hello")

    names = [span.name for span in collector.under(collector.one(TURN))]
    assert names == [f"chat {LLAMA}", "execute_tool echo", f"chat {LLAMA}"]
    failed, _ = collector.named(f"chat {LLAMA}")
    assert failed.attributes["error.type"] == "upstream_tool_use_failed"


async def test_a_call_for_a_summary_says_so_and_names_its_session(collector: Collector) -> None:
    async with lex(summary_idle_seconds=0.25) as service:
        await service.ask("Hello", "s1")
        async with waiting():
            while (await service.client.get("/sessions/s1")).json()["summary"] is None:
                await asyncio.sleep(0.02)

    answer, summary = collector.named(f"chat {LLAMA}")
    assert [span.attributes["lex.purpose"] for span in (answer, summary)] == ["turn", "summary"]
    assert summary.attributes["gen_ai.conversation.id"] == "s1"
    assert (summary.parent_id, summary.links) == ("", [])


async def test_a_tool_that_the_model_made_up_is_not_named(collector: Collector) -> None:
    async with lex(tools=(echo,)) as service:
        service.standin.script({"calls": [called(SECRET), called("echo")]}, {"text": "Well."})
        await service.ask("Hello")

    assert collector.one("execute_tool unknown").attributes["error.type"] == "invalid"
    assert collector.one("execute_tool echo").attributes["error.type"] == "invalid"
    assert SECRET not in repr(collector.spans)


async def test_a_turn_that_failed_or_took_too_long_says_why(collector: Collector) -> None:
    async with lex(turn_timeout_seconds=0.5) as service:
        broken = {"text": "one two", "fault": {"kind": "close", "after_tokens": 1}}
        service.standin.script(broken, contains="Break")
        service.standin.script({"text": "late", "first_token_after": 60}, contains="Wait")
        await service.ask("Break", "s1")
        await service.ask("Wait", "s2")

    failed_request, late_request = collector.named("POST /query")
    for request, code in ((failed_request, "upstream_garbled"), (late_request, "turn_timed_out")):
        assert (request.is_error, request.attributes["error.type"]) == (True, code)
        assert request.attributes["http.response.status_code"] == 200
    failed, late = collector.named(TURN)
    assert (failed.attributes["lex.outcome"], failed.is_error) == ("failed", True)
    assert failed.attributes["error.type"] == "upstream_garbled"
    assert (late.attributes["lex.outcome"], late.is_error) == ("timed_out", True)
    assert late.attributes["error.type"] == "turn_timed_out"
    assert collector.under(late)[-1].attributes["error.type"] == "cancelled"


async def test_when_a_client_leaves_every_span_ends_and_says_so(collector: Collector) -> None:
    gates = Gates()
    rounds = {"calls": [called("wait", word="look"), called("book", word="slot")]}
    async with lex(tools=gates.tools) as service:
        async with asking(service, script(rounds), "s1"):
            await gates.begun.wait()
        async with waiting():
            while gates.ended != ["look cancelled"]:
                await asyncio.sleep(0.005)
        gates.opened.set()
        assert await outcome_of(service, "s1") == "disconnected"
        async with asking(service, script({"text": "late", "first_token_after": 60}), "s2"):
            await service.standin.stats.until(lambda stats: stats.open_streams == 1)
        assert await outcome_of(service, "s2") == "disconnected"

    looked_up, silent = collector.named(TURN)
    for turn in (looked_up, silent):
        assert turn.attributes["lex.outcome"] == "disconnected"
        assert not turn.is_error
    assert collector.one("execute_tool wait").attributes["error.type"] == "cancelled"
    assert not collector.one("execute_tool wait").is_error
    assert collector.one("execute_tool book").attributes["lex.outcome"] == "ok"
    assert collector.under(silent)[-1].attributes["error.type"] == "cancelled"
    for server in collector.named("POST /query"):
        assert server.attributes["lex.stream.outcome"] == "disconnected"


async def test_who_resumes_or_stops_a_turn_is_linked_to_it(collector: Collector) -> None:
    async with lex() as service:
        service.standin.script({"text": "one two three " * 20, "tokens_per_second": 5})
        body = {"query": "Count", "session_id": "s1", "resume": True}
        async with service.client.stream("POST", "/query", json=body) as stream:
            turn_id = stream.headers["x-turn-id"]
            async with service.client.stream("GET", f"/turns/{turn_id}/events") as again:
                await anext(again.aiter_text())
                await service.client.delete(f"/turns/{turn_id}")
        await service.client.get(f"/turns/{turn_id}/events")

    turn = collector.one(TURN)
    assert turn.attributes["lex.outcome"] == "cancelled"
    stopped = collector.one("DELETE /turns/{turn_id}")
    resumed, replayed = collector.named("GET /turns/{turn_id}/events")
    for span in (stopped, resumed, replayed):
        assert span.trace_id != turn.trace_id
        assert span.links == [(turn.trace_id, turn.id)]
        assert span.attributes["lex.turn.id"] == turn_id
        assert span.attributes["url.path"] == span.attributes["http.route"]


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_who_reads_or_stops_a_turn_of_another_worker_is_linked_to_it(
    transport: str, collector: Collector, tmp_path: Path
) -> None:
    async with Standin.serve() as standin, AsyncExitStack() as stack:
        standin.script({"text": "one two three " * 20, "tokens_per_second": 5}, times=None)
        variables = {
            "GROQ_BASE_URL": standin.url,
            "DATABASE_URL": f"sqlite:///{tmp_path}/lex.db",
            "LEASE_SECONDS": "2",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        }
        here, there = [await stack.enter_async_context(lex_process(**variables)) for _ in "12"]
        async with a_turn(here, transport) as turn_id:
            async with there.stream("GET", f"/turns/{turn_id}/events") as resumed:
                await there.delete(f"/turns/{turn_id}")
                await resumed.aread()
            await there.get(f"/turns/{turn_id}/events")
            replayed = {"Last-Event-ID": f"{turn_id}-1"}
            await there.get("/query", headers=replayed)
        async with a_turn(here, transport) as deleted_id:
            await there.delete("/sessions/s1")

    stopped, deleted = collector.named(TURN)
    assert stopped.attributes["lex.turn.id"] == turn_id
    assert deleted.attributes["lex.turn.id"] == deleted_id
    readers = collector.named("GET /turns/{turn_id}/events") + collector.named("GET /query")
    assert len(readers) == 3
    for span in (*readers, collector.one("DELETE /turns/{turn_id}")):
        assert span.resource["service.instance.id"] != stopped.resource["service.instance.id"]
        assert span.links == [(stopped.trace_id, stopped.id)]
        assert span.attributes["lex.turn.id"] == turn_id
    forgot = collector.one("DELETE /sessions/{session_id}")
    assert forgot.links == [(deleted.trace_id, deleted.id)]


@asynccontextmanager
async def a_turn(client: httpx.AsyncClient, transport: str) -> AsyncIterator[str]:
    """Run a turn that is read; yield its id."""
    if transport == "websocket":
        url = f"{client.base_url}/ws/sessions/s1".replace("http", "ws", 1)
        async with connect(url, proxy=None) as socket:
            await socket.send("Count")
            yield json.loads(await socket.recv())["turn"]
        return
    body = {"query": "Count", "session_id": "s1", "resume": True}
    async with client.stream("POST", "/query", json=body) as stream:
        yield stream.headers["x-turn-id"]


async def test_a_turn_that_is_refused_has_no_span(collector: Collector) -> None:
    async with lex() as service:
        async with asking(service, script({"text": "late", "first_token_after": 60}), "s1"):
            await service.standin.stats.until(lambda stats: stats.open_streams == 1)
            refused = await service.client.post("/query", json={"query": "Hi", "session_id": "s1"})
        assert await outcome_of(service, "s1") == "disconnected"

    assert refused.status_code == 409
    assert len(collector.named("POST /query")) == 2
    assert collector.one(TURN).attributes["lex.outcome"] == "disconnected"


async def test_each_turn_over_a_websocket_is_a_trace_that_links_to_the_connection(
    collector: Collector,
) -> None:
    async with lex() as service:
        url = f"{service.url.replace('http', 'ws')}/ws/sessions/s1"
        async with connect(url, proxy=None) as socket:
            for query in ("Hello", "Hello again"):
                await socket.send(query)
                while json.loads(await socket.recv())["type"] != "end":
                    pass

    connection = collector.one("HTTP /ws/sessions/{session_id}")
    assert connection.attributes["http.response.status_code"] == 101
    turns = collector.named(TURN)
    assert len({connection.trace_id, *(turn.trace_id for turn in turns)}) == 3
    for turn in turns:
        assert turn.parent_id == ""
        assert turn.links == [(connection.trace_id, connection.id)]
        assert [span.name for span in collector.under(turn)] == [f"chat {LLAMA}"]
    assert connection.ended > turns[1].ended


async def test_a_connection_that_outlives_a_failed_turn_has_not_failed(
    collector: Collector,
) -> None:
    async with lex() as service:
        broken = {"text": "one two", "fault": {"kind": "close", "after_tokens": 1}}
        service.standin.script(broken)
        url = f"{service.url.replace('http', 'ws')}/ws/sessions/s1"
        async with connect(url, proxy=None) as socket:
            await socket.send("Break")
            while json.loads(await socket.recv())["type"] != "end":
                pass

    assert collector.one(TURN).is_error
    assert not collector.one("HTTP /ws/sessions/{session_id}").is_error


async def test_a_trace_comes_in_goes_back_and_goes_on_to_the_upstream(collector: Collector) -> None:
    theirs = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    async with lex(trace_context="follow") as service:
        headers = {
            "traceparent": f"00-{theirs[0]}-{theirs[1]}-01",
            "baggage": f"what={SECRET}",
            "origin": "http://localhost:3000",
        }
        answer = await service.client.post("/query", json={"query": "Hello"}, headers=headers)
        (asked,) = service.standin.stats.last_requests

    server, chat = collector.one("POST /query"), collector.one(f"chat {LLAMA}")
    assert (server.trace_id, server.parent_id) == theirs
    assert chat.trace_id == theirs[0]
    assert answer.headers["traceresponse"] == server.traceparent
    assert "traceresponse" in answer.headers["access-control-expose-headers"]
    assert asked.headers["traceparent"] == chat.traceparent
    assert "baggage" not in asked.headers


async def test_a_store_that_breaks_is_an_error_and_one_that_says_no_is_not(
    collector: Collector, tmp_path: Path
) -> None:
    query = {"query": "Hello", "session_id": "s1"}
    async with lex(database_url=f"sqlite:///{tmp_path}/lex.db") as service:
        service.standin.script({"text": "one two three", "tokens_per_second": 1})
        async with service.client.stream("POST", "/query", json=query) as running:
            await anext(running.aiter_bytes())
            async with locked(tmp_path / "lex.db"):
                busy = await service.client.post("/query", json=query)
        with closing(sqlite3.connect(tmp_path / "lex.db")) as database:
            database.execute("DROP TABLE messages")
        broken = await service.client.get("/sessions/s1/messages")

    assert (busy.status_code, broken.status_code) == (409, 503)
    *_, refused = collector.named("store claim")
    assert not refused.is_error
    assert collector.one("store messages").attributes["error.type"] == "StorageError"
    assert collector.one("store messages").is_error


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Lock the database against writes for up to 0.6 s."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        released = asyncio.get_running_loop().call_later(0.6, database.rollback)
        try:
            yield
        finally:
            released.cancel()
            database.rollback()


async def test_a_store_is_in_a_trace_only_if_it_was_waited_for(
    collector: Collector, tmp_path: Path
) -> None:
    async with lex(database_url=f"sqlite:///{tmp_path}/lex.db") as service:
        await service.ask("Hello", "quick")
        async with locked(tmp_path / "lex.db"):
            await service.ask("Hello", "slow")

    *_, slow = collector.named("POST /query")
    *_, claim = collector.named("store claim")
    assert (claim.trace_id, claim.parent_id) == (slow.trace_id, slow.id)
    assert slow.begun <= claim.begun <= claim.ended <= slow.ended
    waits = [span.ended - span.begun for span in collector.spans if "store" in span.name]
    assert max(waits) > 4e8
    assert min(waits) >= wait_spans.SLOW_TRANSACTION_SECONDS * 1e9


async def test_a_query_in_an_address_is_in_no_span(collector: Collector) -> None:
    async with lex() as service:
        answer = await service.client.get("/query", params={"query": SECRET, "session_id": "s1"})
        await service.client.get(f"/{SECRET}")

    assert answer.status_code == 200
    assert collector.one("GET /query").attributes["url.path"] == "/query"
    assert collector.one("GET").attributes["url.path"] == "unknown"
    assert SECRET not in repr(collector.spans)


async def test_probes_make_no_spans(collector: Collector) -> None:
    async with lex() as service:
        for path in ("/health", "/livez", "/readyz", "/metrics"):
            assert (await service.client.get(path)).status_code == 200
        await service.client.get("/sessions/health")

    assert [span.name for span in collector.spans] == ["GET /sessions/{session_id}"]


async def test_what_is_said_is_in_spans_when_that_is_switched_on(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    async with lex(tools=(echo,)) as service:
        service.standin.script({"calls": [called("echo", word="loud")]}, {"text": "So it is."})
        await service.ask(SECRET)

    calling, chat = collector.named(f"chat {LLAMA}")
    tool = collector.one("execute_tool echo")
    assert SECRET in chat.attributes["gen_ai.input.messages"]
    assert "You are Lex" in chat.attributes["gen_ai.system_instructions"]
    turn = collector.one(TURN)
    answer = {"role": "assistant", "parts": [text("So it is.")], "finish_reason": "stop"}
    for span in (turn, chat):
        assert json.loads(span.attributes["gen_ai.output.messages"]) == [answer]
    for span in (turn, collector.one("POST /query")):
        assert span.attributes["input.value"] == SECRET
        assert span.attributes["output.value"] == "So it is."
    question = {"role": "user", "parts": [text(SECRET)]}
    assert json.loads(turn.attributes["gen_ai.input.messages"]) == [question]
    (definition,) = json.loads(chat.attributes["gen_ai.tool.definitions"])
    assert (definition["type"], definition["name"]) == ("function", "echo")
    assert definition["parameters"]["properties"].keys() == {"word"}
    (asked,) = json.loads(calling.attributes["gen_ai.output.messages"])
    assert asked["finish_reason"] == "tool_call"
    assert asked["parts"][0]["arguments"] == {"word": "loud"}
    *_, response = json.loads(chat.attributes["gen_ai.input.messages"])
    assert response["parts"][0]["response"] == {"word": "loud"}
    assert json.loads(tool.attributes["gen_ai.tool.call.arguments"]) == {"word": "loud"}
    assert json.loads(tool.attributes["gen_ai.tool.call.result"]) == {"word": "loud"}


def text(content: str) -> dict[str, str]:
    return {"type": "text", "content": content}


async def test_an_answer_that_breaks_off_has_a_finish_reason_too(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Phoenix drops all output messages of a span if one has none."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
    async with lex() as service:
        broken = {"text": "one two", "fault": {"kind": "close", "after_tokens": 1}}
        service.standin.script(broken)
        await service.ask("Break")

    for name in (TURN, f"chat {LLAMA}"):
        (said,) = json.loads(collector.one(name).attributes["gen_ai.output.messages"])
        assert said["finish_reason"] == "error"
        assert said["parts"] == [text("one")]


async def test_the_standard_variables_name_the_service_and_choose_what_is_sampled(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _hello()
    monkeypatch.setenv("OTEL_SERVICE_NAME", "lex-of-berlin")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    await _hello()
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    await _hello()

    plain, named = collector.named(TURN)
    assert plain.resource["service.name"] == "lex"
    assert plain.resource["service.version"]
    assert plain.resource["service.instance.id"]
    assert named.resource["service.name"] == "lex-of-berlin"
    assert named.resource["deployment.environment.name"] == "test"


async def _hello() -> Lex:
    async with lex() as service:
        await service.ask("Hello")
    return service
