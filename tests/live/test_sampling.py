"""Which traces reach a collector: sampled ones, errors and slow turns; and whose they are."""

import json
from collections.abc import Iterator

import pytest
from websockets.asyncio.client import connect

from tests.otlp import Collector, collecting
from tests.serving import Lex, lex

TURN = "invoke_agent lex"
THEIRS = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
BROKEN = {"text": "one two", "fault": {"kind": "close", "after_tokens": 1}}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with collecting() as running:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", running.url)
        yield running


async def over_a_socket(service: Lex, query: str, **headers: str) -> None:
    url = f"{service.url.replace('http', 'ws')}/ws/sessions/ws"
    async with connect(url, proxy=None, additional_headers=headers) as socket:
        await socket.send(query)
        while json.loads(await socket.recv())["type"] != "end":
            pass


def none_of(monkeypatch: pytest.MonkeyPatch, sampler: str) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")


@pytest.mark.parametrize("transport", ["sse", "websocket"])
@pytest.mark.parametrize(
    "sampler", ["traceidratio", "parentbased_traceidratio", "always_off", "parentbased_always_off"]
)
async def test_a_failed_turn_is_sent_whole_whatever_the_sampler_says(
    sampler: str, transport: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    none_of(monkeypatch, sampler)
    async with lex() as service:
        service.standin.script(
            {"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]},
            BROKEN,
            contains="Break",
        )
        await service.ask("Hello", "quick")
        if transport == "sse":
            await service.ask("Break", "broken")
        else:
            await over_a_socket(service, "Hello")
            await over_a_socket(service, "Break")

    turn = collector.one(TURN)
    assert turn.is_error
    below = [span.name.partition(" ")[0] for span in collector.under(turn)]
    assert below == ["chat", "execute_tool", "chat"]
    others = [] if transport == "websocket" else [collector.one("POST /query")]
    assert len(collector.spans) == 4 + len(others)
    assert {span.trace_id for span in collector.spans} == {turn.trace_id}


async def test_a_slow_turn_and_a_late_first_chunk_are_sent(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    none_of(monkeypatch, "parentbased_traceidratio")
    async with lex(trace_slow_seconds=0.4) as service:
        service.standin.script({"text": "late", "first_token_after": 0.5}, contains="Wait")
        await service.ask("Hello", "quick")
        await service.ask("Wait", "slow")

    turn = collector.one(TURN)
    assert turn.attributes["gen_ai.conversation.id"] == "slow"
    assert turn.attributes["lex.turn.is_slow"] is True
    assert not turn.is_error
    assert collector.one("POST /query").id == turn.parent_id


async def test_a_request_that_fails_is_sent_and_a_refused_one_is_not(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    none_of(monkeypatch, "parentbased_traceidratio")
    async with lex(max_streams=1) as service:
        service.standin.script({"text": "one two three", "tokens_per_second": 5})
        body = {"query": "Count", "session_id": "s1"}
        async with service.client.stream("POST", "/query", json=body) as stream:
            await anext(stream.aiter_bytes())
            full = await service.client.post("/query", json={**body, "session_id": "s2"})
            missing = await service.client.get("/sessions/s9")

    assert (full.status_code, missing.status_code) == (503, 404)
    (span,) = collector.spans
    assert span.attributes["http.response.status_code"] == 503
    assert span.attributes["lex.refusal.code"] == "overloaded"


@pytest.mark.parametrize("transport", ["sse", "websocket"])
@pytest.mark.parametrize("is_sampled", [True, False])
async def test_a_stranger_neither_forces_nor_hides_a_trace(
    is_sampled: bool, transport: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampler = "parentbased_always_off" if is_sampled else "parentbased_always_on"
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    headers = {"traceparent": f"00-{THEIRS[0]}-{THEIRS[1]}-{int(is_sampled):02x}"}
    async with lex() as service:
        if transport == "sse":
            await service.client.post("/query", json={"query": "Hello"}, headers=headers)
        else:
            await over_a_socket(service, "Hello", **headers)

    if is_sampled:
        assert collector.spans == []
        return
    name = "POST /query" if transport == "sse" else "HTTP /ws/sessions/{session_id}"
    server = collector.one(name)
    assert THEIRS[0] not in {span.trace_id for span in collector.spans}
    assert server.parent_id == ""
    assert server.links == [THEIRS]


async def test_a_trusted_proxy_s_trace_goes_on_if_asked_for(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    sampled = {"traceparent": f"00-{THEIRS[0]}-{THEIRS[1]}-01"}
    unsampled = {"traceparent": f"00-{'1' * 32}-{THEIRS[1]}-00"}
    async with lex(trace_context="follow") as service:
        for headers in (sampled, unsampled):
            await service.client.post("/query", json={"query": "Hello"}, headers=headers)

    server = collector.one("POST /query")
    assert (server.trace_id, server.parent_id) == THEIRS
    assert server.links == []


@pytest.mark.parametrize("header", ["", "00-0-0-00", "ff", f"00-{'0' * 32}-{'0' * 16}-01"])
async def test_a_broken_traceparent_is_no_link(header: str, collector: Collector) -> None:
    async with lex() as service:
        await service.client.get("/sessions/s1", headers={"traceparent": header})

    (span,) = collector.spans
    assert (span.parent_id, span.links) == ("", [])
