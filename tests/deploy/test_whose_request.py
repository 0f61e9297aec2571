"""The log answers for whom something happened, without a word about the person."""

import asyncio
import json
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import connect

from backend.telemetry import identity
from infrastructure.groq_standin import Standin
from tests.credentials import COOKIE_SECRET, key_file
from tests.deploy.servers import GUNICORN, PLAIN, Deployed, deployed
from tests.documents.markdown import section
from tests.otlp import collecting
from tests.raw import connected
from tests.waiting import waiting

KEY = "a key of the operator with more than 32 characters"
ALICE, OTTO = "alices-key", "ottos-key"
SESSION = "session-of-alice"
MODELS = ("llama-3.3-70b-versatile", "openai/gpt-oss-120b", "openai/gpt-oss-20b")


def keyed(folder: Path) -> dict[str, str]:
    users: dict[str, str | None] = {ALICE: "alice@example.com", OTTO: "otto@example.com"}
    return {
        "AUTH": "api_key",
        "API_KEYS_FILE": str(key_file(folder / "keys", **users)),
        "SESSION_COOKIE_SECRET": COOKIE_SECRET,
        "LOG_HASH_KEY": KEY,
    }


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def hashed(name: str) -> str:
    identity.use_key(KEY)
    try:
        return identity.hashed(name)
    finally:
        identity.use_key(None)


def lines(service: Deployed, **wanted: object) -> list[dict[str, Any]]:
    """The lines with these fields."""
    found = [json.loads(line) for line in service.log.read_text().splitlines()]
    return [line for line in found if wanted.items() <= line.items()]


def documented(question: str, log: Path, example: str, name: str) -> list[dict[str, Any]]:
    """The lines that the documented command finds, with another name than the example's."""
    page = section("docs/observability.md", "Whose request was it?")
    command = re.search(rf"{question}.*?`(jq [^`]*) lex\.log`", page, re.DOTALL)
    assert command
    words = shlex.split(command[1].replace(example, name))
    written = subprocess.check_output([*words, str(log)], text=True)
    return [json.loads(line) for line in written.splitlines()]


async def ask(service: Deployed, query: str, session_id: str, **headers: str) -> int:
    body = {"query": query, "session_id": session_id}
    return (await service.client.post("/query", json=body, headers=headers)).status_code


async def test_one_query_finds_all_lines_and_spans_of_a_session_or_client(
    standin: Standin, tmp_path: Path
) -> None:
    broken = {"text": "one two", "fault": {"kind": "close", "after_tokens": 1}}
    standin.script(broken, contains="Break", times=None)
    session, alice = hashed(f"session:{SESSION}"), hashed("user:alice@example.com")
    with collecting() as collector:
        where = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "RATE_LIMIT_SESSION": "3/day"}
        async with deployed(PLAIN, standin, tmp_path, **where, **keyed(tmp_path)) as service:
            mine = bearer(ALICE)
            await ask(service, "Hello", "another", **bearer(OTTO))
            await ask(service, "Hello", SESSION, **mine)
            await ask(service, "Break", SESSION, **mine)
            turn = service.lines("turn_finished")[-1]["turn"]
            await service.client.get(f"/sessions/{SESSION}/messages", headers=mine)
            await service.client.get(f"/turns/{turn}", headers=mine)
            await service.client.get(f"/turns/{turn}/events", headers=mine)
            resume = {**mine, "Last-Event-ID": f"{turn}-1"}
            await service.client.get("/query", headers=resume)
            await ask(service, "Hello", SESSION, **mine)
            assert await ask(service, "Hello", SESSION, **mine) == 429
            await service.until_said("request_finished", times=9)

    of_session = lines(service, session_hash=session)
    assert {line["client_hash"] for line in of_session} == {alice}
    assert {line["client"] for line in of_session} == {"key 1"}
    assert len([line for line in of_session if line["event"] == "request_finished"]) == 8
    assert len([line for line in of_session if line["event"] == "turn_finished"]) == 3
    failed = [line for line in lines(service, client_hash=alice) if line.get("error")]
    assert [(line["event"], line["level"], line["error"]) for line in failed] == [
        ("turn_finished", "warning", "upstream_garbled"),
        ("request_finished", "info", "too_many_requests"),
    ]
    assert failed[-1]["limit"] == "session"
    if shutil.which("jq"):
        assert documented("session X", service.log, "ea1e6ebcd57283a9", session) == of_session
        assert documented("client Y", service.log, "the shop", "key 1") == failed
    log = service.log.read_text()
    assert SESSION not in log
    assert "example.com" not in log
    spans = [s for s in collector.spans if s.attributes.get("lex.session.hash") == session]
    assert len(spans) == 8 + 3
    assert {span.attributes["lex.client.hash"] for span in spans} == {alice}
    assert {span.attributes["lex.client.name"] for span in spans} == {"key 1"}
    (refused,) = [span for span in spans if "lex.refusal.code" in span.attributes]
    assert refused.attributes["lex.refusal.limit"] == "session"
    assert not refused.is_error


async def test_an_exemplar_names_the_trace_the_client_and_the_session(
    standin: Standin, tmp_path: Path
) -> None:
    with collecting() as collector:
        where = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        async with deployed(PLAIN, standin, tmp_path, **where, **keyed(tmp_path)) as service:
            await ask(service, "Hello", SESSION, **bearer(ALICE))
            accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
            metrics = (await service.client.get("/metrics", headers=accept)).text

    trace_id = collector.one("invoke_agent lex").trace_id
    session, alice = hashed(f"session:{SESSION}"), hashed("user:alice@example.com")
    expected = f'{{client_hash="{alice}",session_hash="{session}",trace_id="{trace_id}"}}'
    named = [line for line in metrics.splitlines() if expected in line]
    assert {line.partition("_bucket")[0] for line in named} >= {
        "lex_time_to_first_chunk_seconds",
        "gen_ai_invoke_agent_duration_seconds",
    }


async def test_a_client_without_a_credential_is_named_by_its_address(
    standin: Standin, tmp_path: Path
) -> None:
    where = {"LOG_HASH_KEY": KEY, "FORWARDED_ALLOW_IPS": "127.0.0.1"}
    async with deployed(PLAIN, standin, tmp_path, **where) as service:
        for address in ("203.0.113.7", "2001:db8::7"):
            await ask(service, "Hello", "s1", **{"X-Forwarded-For": address})
        await service.until_said("request_finished", times=2)

    told = [line["client_hash"] for line in service.lines("request_finished")]
    assert told == [hashed("address:203.0.113.7"), hashed("address:2001:db8::/64")]
    assert "203.0.113.7" not in service.log.read_text()
    assert service.lines("log_hash_key_is_random") == []


async def test_all_workers_of_a_start_share_a_random_key_and_say_so(
    standin: Standin, tmp_path: Path
) -> None:
    async with deployed(GUNICORN, standin, tmp_path) as service:
        async with waiting():
            for _ in range(200):
                await ask(service, "Hello", "s1", Connection="close")
                if len({line["turn"] for line in service.lines("turn_finished")}) >= 20:
                    break
        service.send(signal.SIGHUP)
        await service.until_said("lex_started", times=4)
        await ask(service, "Hello", "s1")
        await service.until_said("turn_finished", times=21)

    assert len({line["session_hash"] for line in service.lines("turn_finished")}) == 1
    assert len(service.lines("log_hash_key_is_random")) == 4
    assert "LOG_HASH_KEY" in service.lines("log_hash_key_is_random")[0]["note"]


@pytest.mark.parametrize("found_by", ["look-up", "claim", "nobody"])
async def test_a_turn_that_is_lost_with_its_worker_is_in_log_and_trace(
    found_by: str, standin: Standin, tmp_path: Path
) -> None:
    standin.script({"text": "late", "first_token_after": 60}, contains="Wait")
    with collecting() as collector:
        where = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_TRACES_SAMPLER": "parentbased_always_off",
            "LEASE_SECONDS": "1",
            "LOG_HASH_KEY": KEY,
        }
        async with (
            deployed(PLAIN, standin, tmp_path, **where) as other,
            deployed(PLAIN, standin, tmp_path, **where) as service,
        ):
            body = {"query": "Wait", "session_id": SESSION}
            async with service.client.stream("POST", "/query", json=body) as stream:
                trace_id = stream.headers["traceresponse"].split("-")[1]
                turn_id = stream.headers["x-turn-id"]
                await standin.stats.until(lambda stats: stats.open_streams == 1)
                service.process.kill()
                await service.ended()
            async with waiting():
                while not other.lines("turn_lost"):
                    if found_by == "look-up":
                        await other.client.get(f"/sessions/{SESSION}")
                    elif found_by == "claim":
                        await ask(other, "Hello", SESSION)
                    await asyncio.sleep(0.1)

    (line,) = other.lines("turn_lost")
    assert (line["level"], line["turn"], line["error"]) == ("warning", turn_id, "worker_lost")
    assert line["session_hash"] == hashed(f"session:{SESSION}")
    assert line["trace_id"] == trace_id
    span = collector.one("turn_lost")
    assert span.is_error
    assert span.trace_id == trace_id
    assert span.attributes["error.type"] == "worker_lost"
    assert span.attributes["lex.turn.id"] == turn_id
    assert span.attributes["lex.session.hash"] == hashed(f"session:{SESSION}")
    assert span.attributes["gen_ai.conversation.id"] == SESSION


async def test_what_a_socket_refuses_is_a_line_with_code_and_limit(
    standin: Standin, tmp_path: Path
) -> None:
    where = {"RATE_LIMIT_SESSION": "1/day", "MAX_SOCKETS_PER_CLIENT": "3", **keyed(tmp_path)}
    async with deployed(PLAIN, standin, tmp_path, **where) as service:
        url = f"{service.client.base_url}/ws/sessions/{SESSION}".replace("http", "ws", 1)
        mine = bearer(ALICE)
        async with connect(url, proxy=None, additional_headers=mine) as socket:
            for query in ("Hello", "Hello again"):
                await socket.send(query)
                while json.loads(await socket.recv())["type"] not in ("end", "error"):
                    pass
            async with (
                connect(url, proxy=None, additional_headers=mine),
                connect(url, proxy=None, additional_headers=mine),
            ):
                with pytest.raises(Exception, match="429"):
                    async with connect(url, proxy=None, additional_headers=mine):
                        pass
            async with connect(url, proxy=None) as unknown:
                await unknown.wait_closed()
            for text in ("x" * 70_000, b"binary"):
                async with connect(
                    f"{url}-2", proxy=None, additional_headers=bearer(OTTO)
                ) as wrong:
                    await wrong.send(text)
                    await wrong.wait_closed()
            async with connect(f"{url}%20", proxy=None, additional_headers=bearer(OTTO)) as wrong:
                await wrong.wait_closed()
        await service.until_said("request_finished", times=8)

    message, *others = service.lines("message_refused")
    assert [line["error"] for line in others] == ["body_too_large", "invalid_field"]
    assert {line["client"] for line in others} == {"key 2"}
    assert (message["error"], message["limit"]) == ("too_many_requests", "session")
    assert message["session_hash"] == hashed(f"session:{SESSION}")
    assert message["client"] == "key 1"
    requests = {line.get("error"): line for line in service.lines("request_finished")}
    assert requests["too_many_requests"]["limit"] == "sockets"
    assert requests["too_many_requests"]["status"] == 429
    assert requests["not_authenticated"]["level"] == "info"
    assert requests["invalid_field"]["status"] == 101
    assert "limit" not in requests[None]


async def test_a_refusal_by_a_library_has_an_error_too(standin: Standin, tmp_path: Path) -> None:
    async with deployed(PLAIN, standin, tmp_path) as service:
        preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        await service.client.options("/query", headers=preflight)
        await service.client.get("/nowhere")
        await service.until_said("request_finished", times=2)

    errors = [(line["status"], line["error"]) for line in service.lines("request_finished")]
    assert errors == [(400, "refused"), (404, "not_found")]


async def test_a_malformed_request_is_a_line_of_its_own(standin: Standin, tmp_path: Path) -> None:
    async with deployed(PLAIN, standin, tmp_path) as service:
        async with connected(service.port) as line:
            await line.send(b"GET / HTTP/9.9\r\n\r\n")
            assert b" 400 " in await line.head()
        await service.until_said("connection_refused", times=1)

    (refused,) = service.lines("connection_refused")
    assert (refused["level"], refused["status"]) == ("info", 400)
    assert refused["error"] == "bad_request"


async def test_failures_are_warnings(standin: Standin, tmp_path: Path) -> None:
    standin.script({"text": "late", "first_token_after": 60}, contains="Wait")
    where = {"TURN_TIMEOUT_SECONDS": "0.3"}
    async with deployed(PLAIN, standin, tmp_path, **where) as service:
        await ask(service, "Hello", "s1")
        await ask(service, "Wait", "s2")
        await service.client.get("/sessions/nobodys")
        (tmp_path / "lex.db").unlink()
        assert await ask(service, "Hello", "s3") == 503
        await service.until_said("request_finished", times=4)

    turns = {line["outcome"]: line["level"] for line in service.lines("turn_finished")}
    assert turns == {"completed": "info", "timed_out": "warning"}
    requests = [(line["status"], line["level"]) for line in service.lines("request_finished")]
    assert requests == [(200, "info"), (200, "info"), (404, "info"), (503, "warning")]
    assert service.lines("request_finished")[-1]["error"] == "storage_unavailable"


async def test_a_storm_of_refusals_by_the_upstream_is_one_line_of_its_turn(
    standin: Standin, tmp_path: Path
) -> None:
    busy = {"kind": "status", "status": 429, "headers": {"retry-after": "0.1"}}
    for model in MODELS:
        standin.script({"text": "unused", "fault": busy}, model=model, times=None)
    async with deployed(PLAIN, standin, tmp_path) as service:
        before = len(lines(service))
        await ask(service, "Hello", "s1")
        await service.until_said("request_finished", times=1)

    written = lines(service)[before:]
    (turn,) = service.lines("turn_finished")
    assert turn["level"] == "warning"
    assert turn["error"] == "upstream_busy"
    assert turn["attempts"] == turn["failed_attempts"] > 3
    assert turn["waits"] >= 1
    assert turn["attempt_errors"].keys() == set(MODELS)
    assert sum(each["upstream_busy"] for each in turn["attempt_errors"].values()) > 3
    leaving = ("server_leaving", "uvicorn")
    about_turn = [line for line in written if line.get("session_hash")]
    assert [line["event"] for line in about_turn if line["event"] not in leaving] == [
        "turn_finished",
        "request_finished",
    ]


@pytest.mark.parametrize("command", [PLAIN, GUNICORN], ids=["plain", "gunicorn"])
async def test_a_file_changes_the_level_of_all_workers_while_they_run(
    command: tuple[str, ...], standin: Standin, tmp_path: Path
) -> None:
    file = tmp_path / "level"
    workers = 2 if command is GUNICORN else 1

    async def attempts_are_logged() -> bool:
        before = len(service.lines("upstream_attempt"))
        await ask(service, "Hello", "s1")
        return len(service.lines("upstream_attempt")) > before

    async with deployed(command, standin, tmp_path, LOG_LEVEL_FILE=str(file)) as service:
        assert not await attempts_are_logged()
        file.write_text("debug\n")
        await service.until_said("log_level_changed", times=workers)
        assert await attempts_are_logged()
        file.write_text("LOUD")
        await service.until_said("log_level_not_changed", times=workers)
        assert await attempts_are_logged()
        file.write_text("ERROR")
        await service.until_said("log_level_changed", times=2 * workers)
        finished = len(service.lines("turn_finished"))
        assert not await attempts_are_logged()
        assert len(service.lines("turn_finished")) == finished
        file.unlink()
        await service.until_said("log_level_changed", times=3 * workers)
        assert not await attempts_are_logged()
        async with waiting():
            while len(service.lines("turn_finished")) == finished:
                await asyncio.sleep(0.05)

    levels = [line["log_level"] for line in service.lines("log_level_changed")]
    assert levels == [level for level in ("DEBUG", "ERROR", "INFO") for _ in range(workers)]
    assert "LOUD" not in service.log.read_text()
