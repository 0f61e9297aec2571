"""The metrics of a service in use."""

import asyncio
import gzip
import json
from dataclasses import replace

import pytest
from websockets.asyncio.client import connect

from tests.api.test_realtime import address, until_end
from tests.fakes import echo
from tests.live.test_disconnect import asking, outcome_of
from tests.scraping import OPENMETRICS, Scrape, scrape
from tests.serving import Lex, ids_of, lex
from tests.waiting import waiting

MODEL = "llama-3.3-70b-versatile"


async def until_counted(service: Lex, name: str, value: float, **labels: str) -> Scrape:
    """Wait for a count: the end of a turn or stream is counted a moment later."""
    async with waiting():
        while (seen := await scrape(service.client)).value(name, **labels) < value:
            await asyncio.sleep(0.01)
    return seen


def grown(before: Scrape, after: Scrape, name: str, **labels: str) -> float:
    return after.value(name, **labels) - before.value(name, **labels)


async def test_series_exist_before_anything_has_happened(service: Lex) -> None:
    seen = await scrape(service.client)

    for model in (MODEL, "openai/gpt-oss-120b", "openai/gpt-oss-20b"):
        for histogram in (
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "gen_ai_client_operation_time_per_output_chunk_seconds",
            "lex_upstream_first_byte_seconds",
            "lex_upstream_queue_seconds",
            "lex_upstream_tokens_per_second",
        ):
            assert seen.value(f"{histogram}_count", gen_ai_request_model=model) >= 0
        seen.value(
            "lex_upstream_attempts_total", gen_ai_request_model=model, outcome="upstream_busy"
        )
        seen.value(
            "gen_ai_client_token_usage_count",
            gen_ai_request_model=model,
            gen_ai_token_type="output",
        )
    for tool in ("get_weather", "schedule_appointment"):
        seen.value("lex_tool_calls_total", gen_ai_tool_name=tool, outcome="timed_out")
    seen.value("lex_turns_total", outcome="timed_out", transport="websocket")
    seen.value("lex_stream_disconnects_total", window="tool")
    assert seen.value("lex_build_info", version="0.1.0", revision="unknown") == 1


async def test_the_rest_of_a_rate_stands_beside_its_limit(service: Lex) -> None:
    headers = {
        "x-ratelimit-limit-requests": "1000",
        "x-ratelimit-remaining-requests": "250",
        "x-ratelimit-limit-tokens": None,
        "x-ratelimit-remaining-tokens": "12",
    }
    service.standin.script({"text": "Hi.", "headers": headers})
    before = await scrape(service.client)

    await service.ask("Hello")
    seen = await scrape(service.client)

    requests = {"gen_ai_request_model": MODEL, "kind": "requests"}
    assert seen.value("lex_upstream_budget_remaining", **requests) == 250
    assert seen.value("lex_upstream_budget_limit", **requests) == 1000
    # The upstream reported nothing about it, so the value is unchanged.
    tokens = {"gen_ai_request_model": MODEL, "kind": "tokens"}
    assert seen.value("lex_upstream_budget_remaining", **tokens) == 12
    assert limits(seen, **tokens) == limits(before, **tokens)


def limits(seen: Scrape, **labels: str) -> list[float]:
    """Return the limits; there are none before the upstream has reported one."""
    name = "lex_upstream_budget_limit"
    return [each.value for each in seen._with(name, labels)]


CALL = {
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "groq",
    "gen_ai_request_model": MODEL,
    "purpose": "turn",
}


async def test_a_turn_with_a_tool_is_seen_from_the_query_to_the_upstream(service: Lex) -> None:
    usage = {"prompt_tokens": 40, "completion_tokens": 8}
    call = {"name": "get_weather", "arguments": {"city": "Paris"}}
    service.standin.script({"calls": [call], "usage": usage}, {"text": "Mild.", "usage": usage})
    before = await scrape(service.client)

    await service.ask("Weather?")
    after = await until_counted(service, "lex_turns_total", before.value("lex_turns_total") + 1)

    def counts(name: str, **labels: str) -> float:
        return grown(before, after, name, **labels)

    call = {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "groq",
        "gen_ai_request_model": MODEL,
        "purpose": "turn",
    }
    assert counts("lex_turns_total", outcome="completed", transport="sse") == 1
    assert counts("lex_turn_rounds_sum") == 2
    assert counts("lex_upstream_attempts_total", gen_ai_request_model=MODEL, outcome="ok") == 2
    assert (
        counts(
            "gen_ai_client_operation_duration_seconds_count",
            gen_ai_request_model=MODEL,
            error_type="",
        )
        == 2
    )
    assert (
        counts(
            "gen_ai_client_operation_time_to_first_chunk_seconds_count", gen_ai_request_model=MODEL
        )
        == 2
    )
    assert counts("gen_ai_client_operation_time_per_output_chunk_seconds_count", **CALL) == 2
    assert counts("lex_completions_total", gen_ai_response_finish_reason="tool_calls") == 1
    assert counts("lex_completions_total", gen_ai_response_finish_reason="stop") == 1
    assert counts("lex_upstream_first_byte_seconds_count", gen_ai_request_model=MODEL) == 2
    assert counts("lex_upstream_queue_seconds_count", gen_ai_request_model=MODEL) == 2
    assert counts("lex_upstream_queue_seconds_sum", gen_ai_request_model=MODEL) > 0
    assert counts("lex_upstream_tokens_per_second_count", gen_ai_request_model=MODEL) == 2
    assert (
        counts(
            "gen_ai_client_token_usage_count", gen_ai_request_model=MODEL, gen_ai_token_type="input"
        )
        == 2
    )
    assert counts("lex_tool_calls_total", gen_ai_tool_name="get_weather", outcome="ok") == 1
    assert counts("lex_time_to_first_chunk_seconds_count", transport="sse") == 1
    # The three points in time follow each other.
    first_byte = counts("lex_upstream_first_byte_seconds_sum", gen_ai_request_model=MODEL)
    content = counts(
        "gen_ai_client_operation_time_to_first_chunk_seconds_sum", gen_ai_request_model=MODEL
    )
    chunk = counts("lex_time_to_first_chunk_seconds_sum", transport="sse")
    assert 0 < first_byte <= content < chunk
    assert counts("lex_stream_disconnects_total") == 0


async def test_a_websocket_counts_turns_first_chunks_and_resumes(service: Lex) -> None:
    before = await scrape(service.client)

    async with connect(address(service), proxy=None) as socket:
        await socket.send("Hello")
        events = await until_end(socket)
        last_event_id = events[0]["id"]
        await socket.send(json.dumps({"type": "resume", "last_event_id": last_event_id}))
        await until_end(socket)
        after = await until_counted(
            service,
            "lex_turns_total",
            before.value("lex_turns_total", transport="websocket") + 1,
            transport="websocket",
        )

    assert grown(before, after, "lex_time_to_first_chunk_seconds_count", transport="websocket") == 1
    assert grown(before, after, "lex_resumed_streams_total") == 1
    assert after.value("lex_streams_open") == before.value("lex_streams_open")
    assert grown(before, after, "lex_stream_disconnects_total") == 0


async def test_a_stream_that_is_resumed_is_no_turn_and_has_no_first_chunk(service: Lex) -> None:
    body = {"query": "Hello", "resume": True}
    whole = await service.client.post("/query", json=body)
    turn, first = whole.headers["x-turn-id"], ids_of(whole.text)[0]
    before = await scrape(service.client)

    await service.client.get(f"/turns/{turn}/events", headers={"Last-Event-ID": first})
    after = await scrape(service.client)

    assert grown(before, after, "lex_resumed_streams_total") == 1
    assert grown(before, after, "lex_time_to_first_chunk_seconds_count") == 0


async def test_heartbeats_and_a_client_that_leaves_are_counted() -> None:
    async with lex(heartbeat_seconds=0.1) as service:
        service.standin.script({"text": "late", "first_token_after": 60})
        before = await scrape(service.client)
        async with asking(service, "Count", "s1") as reader:
            await reader.readuntil(b": \n\n")
            is_open = await scrape(service.client)
        assert await outcome_of(service, "s1") == "disconnected"
        name = "lex_turns_total"
        turns = before.value(name, outcome="disconnected") + 1
        after = await until_counted(service, name, turns, outcome="disconnected")

    window = {"window": "before_first_chunk"}
    assert grown(before, after, "lex_heartbeats_total") >= 1
    assert grown(before, after, "lex_stream_disconnects_total", **window) == 1
    assert grown(before, after, "lex_stream_disconnects_total") == 1
    assert grown(before, is_open, "lex_streams_open") == 1
    assert grown(before, is_open, "lex_followers") == 1
    assert grown(before, after, "lex_followers") == 0
    assert is_open.value("lex_slots_free") == 1999
    assert grown(before, after, "lex_upstream_attempts_total", outcome="cancelled") == 1


async def test_a_defect_inside_a_call_of_a_model_is_counted_as_ours() -> None:
    unsendable = replace(echo, spec=replace(echo.spec, parameters={"properties": object()}))
    async with lex(tools=(unsendable,)) as service:
        before = await scrape(service.client)
        events = await service.ask("Hello")
        after = await scrape(service.client)

    assert json.loads(events[0][1])["code"] == "internal_error"
    attempts = "lex_upstream_attempts_total"
    assert grown(before, after, attempts, outcome="internal_error") == 1
    assert grown(before, after, attempts, outcome="cancelled") == 0


PACE = "gen_ai_client_operation_time_per_output_chunk_seconds"


async def test_six_tokens_a_second_miss_the_pace_and_thirty_keep_it(service: Lex) -> None:
    for tokens_per_second in (6, 30):
        service.standin.script({"tokens": 8, "tokens_per_second": tokens_per_second})
    before = await scrape(service.client)

    await service.ask("Slowly")
    slow = await scrape(service.client)
    await service.ask("Quickly")
    quick = await scrape(service.client)

    assert grown(before, slow, f"{PACE}_count") == grown(slow, quick, f"{PACE}_count") == 1
    assert grown(before, slow, f"{PACE}_bucket", le="0.1") == 0
    assert grown(slow, quick, f"{PACE}_bucket", le="0.1") == 1


async def test_a_client_that_leaves_a_slow_stream_leaves_a_slow_pace() -> None:
    async with lex() as service:
        service.standin.script({"tokens": 200, "tokens_per_second": 4})
        before = await scrape(service.client)
        async with asking(service, "Count", "s1") as reader:
            for _ in range(3):
                await reader.readuntil(b"event: chunk")
        assert await outcome_of(service, "s1") == "disconnected"
        after = await until_counted(service, f"{PACE}_count", before.value(f"{PACE}_count") + 1)

    assert grown(before, after, f"{PACE}_bucket", le="0.1") == 0
    assert grown(before, after, "lex_completions_total") == 0


@pytest.mark.parametrize("accept", ["", OPENMETRICS])
async def test_either_format_has_every_metric_with_its_type(service: Lex, accept: str) -> None:
    await service.ask("Hello")

    seen = await scrape(service.client, accept=accept)

    assert seen.types["lex_turns"] == "counter"
    assert seen.types["lex_overhead_seconds"] == "histogram"
    assert seen.types["lex_streams_open"] == "gauge"
    assert not [name for name in seen.types if name.endswith("_created")]


async def test_no_session_and_nothing_that_was_said_is_in_a_label(service: Lex) -> None:
    await service.ask("A secret", session_id="my-session")

    text = (await service.client.get("/metrics")).text

    assert "my-session" not in text
    assert "secret" not in text


@pytest.mark.parametrize(
    ("accepted", "is_compressed"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("identity", False),
        ("", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000, br", False),
    ],
)
async def test_the_metrics_are_compressed_for_those_who_accept_it(
    accepted: str, is_compressed: bool, service: Lex
) -> None:
    headers = {"Accept-Encoding": accepted}
    async with service.client.stream("GET", "/metrics", headers=headers) as answer:
        raw = b"".join([part async for part in answer.aiter_raw()])
    text = (gzip.decompress(raw) if is_compressed else raw).decode()

    assert answer.headers.get("content-encoding") == ("gzip" if is_compressed else None)
    assert answer.headers["vary"].startswith("Accept, Accept-Encoding")
    assert "lex_build_info{" in text
    assert len(raw) < 0.15 * len(text) or not is_compressed
