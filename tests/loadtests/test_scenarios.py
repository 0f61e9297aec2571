"""The scenarios against a healthy service and against faulty ones."""

import asyncio
import re

from infrastructure.ports import free_port
from tests.cutting import cutting
from tests.loadtests.running import Ran, locust
from tests.serving import Lex, lex

STREAMS = {"chat", "tools", "booking", "resume", "slow reader", "websocket", "hold", "storm"}
OTHERS = {
    "abandon: stopped",
    "abandon: until left",
    "booking: the same again",
    "hold: heartbeat",
    "rate limit: count",
    "resume: back",
    "storm: back",
    "websocket: connect",
}
ALL_BUT_THE_STORM = "Chat, Tools, Booking, Resume, Abandon, SlowReader, WebSocket, Hold, RateLimit"

PATIENT = ("--first-chunk-seconds", "10")
"""A loose objective, since the machine may be busy. The tests check the measurements themselves."""


async def test_all_of_them_against_a_service_that_is_well() -> None:
    async with lex(rate_limit_session="5/minute", heartbeat_seconds=1) as service:
        everything, storm = await asyncio.gather(
            locust(
                service.url,
                *("--users", "9", "--run-time", "3", "--stop-timeout", "20"),
                *("--scenarios", ALL_BUT_THE_STORM, "--session-limit", "5"),
                *("--hold-seconds", "4", "--think-seconds", "0.2", *PATIENT),
            ),
            locust(
                service.url,
                # Long enough that streams begin before the last cut, even on a busy machine.
                *("--users", "20", "--run-time", "8", "--stop-timeout", "20"),
                *("--scenarios", "Storm", "--hold-seconds", "9", "--back-seconds", "0.5"),
                *PATIENT,
                # A master and workers. The run waits for the workers' cuts as well.
                *("--processes", "2"),
                files="loadtests/locustfile.py,loadtests/shapes/reconnect_storm.py",
            ),
        )

    assert (everything.code, storm.code) == (0, 0), everything.log + storm.log
    assert everything.failures | storm.failures == set()
    entries = everything.entries | storm.entries
    assert {f"{each}: stream" for each in STREAMS} | OTHERS <= entries.keys()
    # Each cut hits the streams that have begun by then.
    assert 0 < entries["storm: back"].requests <= 2 * 20
    assert entries["storm: stream"].requests == 20
    spoken_seconds = entries["chat: stream"].seconds - entries["chat: first chunk"].seconds
    assert spoken_seconds / 2 < entries["chat: gap"].seconds < spoken_seconds
    # The duration of the script, with a tolerance.
    assert 0.2 <= entries["chat: first chunk"].mean_seconds < 0.2 + 5
    assert 0.3 <= entries["tools: first chunk"].mean_seconds < 0.3 + 5
    assert 1.7 <= entries["chat: stream"].mean_seconds < 1.7 + 5
    assert 4.0 <= entries["hold: stream"].mean_seconds < 4.0 + 5
    assert 0.8 <= entries["hold: heartbeat"].mean_seconds < 2


def plant(service: Lex) -> None:
    """Plant faults for some scenarios, recognised by their questions."""
    broken = {"tokens": 40, "fault": {"kind": "reset", "after_tokens": 5}}
    service.standin.script(broken, contains="Apex GT special", times=None)
    short = {"tokens": 40, "fault": {"kind": "no_finish_reason"}}
    service.standin.script(short, contains="Veloce Spider special", times=None)
    late = {"tokens": 5, "first_token_after": 1.5}
    service.standin.script(late, contains="test drive", times=None)


async def test_what_is_wrong_is_named_and_makes_the_exit_code() -> None:
    async with lex(rate_limit_session="5/minute", max_streams_per_client=100) as service:
        plant(service)
        ran = await locust(
            service.url,
            *("--users", "4", "--run-time", "2", "--stop-timeout", "20", "--session-limit", "4"),
            *("--scenarios", "Chat, WebSocket, RateLimit, Resume", "--first-chunk-seconds", "1"),
        )

    assert ran.code == 1
    assert ran.failures == {
        ("chat: stream", "StreamFailed('error event: upstream_unavailable')"),
        ("websocket: stream", "StreamFailed('error event: upstream_garbled')"),
        ("rate limit: count", "StreamFailed('5 queries passed, and 4 are allowed')"),
    }
    assert "Missed: chat: stream: 100.00 % failed; the limit is 0.5 %" in ran.log
    assert "Missed: rate limit: count: 100.00 % failed" in ran.log
    late = re.search(r"Missed: resume: first chunk: 99 % came within (\d+\.\d+)", ran.log)
    assert late
    assert float(late[1]) >= 1
    assert "Missed: resume: stream" not in ran.log


async def test_whatever_ends_a_stream_early_is_named() -> None:
    async with (
        lex() as service,
        lex(rate_limit_client="1/hour") as strict,
        cutting(service.url, [700] * 1000) as cutter,
    ):
        await strict.ask("Hello.")
        nobody = f"http://127.0.0.1:{free_port()}"
        cut, refused, unheard = await asyncio.gather(
            *(failing(host) for host in (cutter.url, strict.url, nobody))
        )

    assert cut.failures == {
        ("chat: stream", "StreamFailed('the stream was cut before its end')"),
        ("websocket: stream", "StreamFailed('the stream was cut before its end')"),
    }
    assert refused.failures == {
        ("chat: stream", "Refused('refused: 429 too_many_requests')"),
        ("websocket: stream", "StreamFailed('error event: too_many_requests')"),
    }
    assert unheard.failures == {
        ("chat: stream", "StreamFailed('no answer: ConnectionRefusedError')"),
        ("websocket: connect", "StreamFailed('no connection: ConnectionRefusedError')"),
    }


async def failing(host: str) -> Ran:
    few = ("--users", "2", "--run-time", "1", "--stop-timeout", "5")
    ran = await locust(host, *few, "--scenarios", "Chat, WebSocket")
    assert ran.code == 1
    assert "Missed: chat: stream: 100.00 % failed" in ran.log
    return ran
