"""Rate limits and slots, as clients see them over every transport."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from websockets import ConnectionClosed, Origin
from websockets.asyncio.client import connect

from backend.settings import Settings
from tests.api.test_realtime import address, until_end
from tests.serving import Lex, ids_of, lex, parse, without_ids
from tests.transports import ServerSentEvents, Transport, WebSockets
from tests.waiting import waiting

FOREVER = {"text": "one", "first_token_after": 60}


@pytest.fixture
async def limited() -> AsyncIterator[Lex]:
    async with lex(
        rate_limit_session="2/minute;50/day",
        rate_limit_client="3/minute",
        max_streams_per_client=2,
    ) as running:
        yield running


async def post(service: Lex, session_id: str = "s1", **headers: str) -> httpx.Response:
    body = {"query": "Hello", "session_id": session_id}
    return await service.client.post("/query", json=body, headers=headers)


async def counted(service: Lex, series: str) -> float:
    text = (await service.client.get("/metrics")).text
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    assert found, series
    return float(found[1])


async def test_a_good_answer_says_how_much_is_left_and_not_when_to_come_back(limited: Lex) -> None:
    answer = await post(limited)

    assert answer.status_code == 200
    assert answer.headers["ratelimit-policy"] == (
        '"session-minute";q=2;w=60, "session-day";q=50;w=86400, "client-minute";q=3;w=60'
    )
    assert answer.headers["ratelimit"] == (
        '"session-minute";r=1;t=60, "session-day";r=49;t=86400, "client-minute";r=2;t=60'
    )
    assert "retry-after" not in answer.headers


async def test_one_too_many_of_a_session_is_a_problem_that_says_when(limited: Lex) -> None:
    before = await counted(limited, 'lex_rate_limited_total{limit="session"}')
    refusals = await counted(limited, 'lex_refusals_total{code="too_many_requests"}')
    await post(limited)
    await post(limited)

    answer = await post(limited, Origin="http://localhost:3000")

    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["code"], body["title"]) == ("too_many_requests", "Too Many Requests")
    assert 55 <= int(answer.headers["retry-after"]) == body["retry_after"] <= 60
    assert answer.headers["ratelimit"].startswith('"session-minute";r=0;t=')
    exposed = answer.headers["access-control-expose-headers"].split(", ")
    assert {"Retry-After", "RateLimit", "RateLimit-Policy"} <= set(exposed)
    assert await counted(limited, 'lex_rate_limited_total{limit="session"}') == before + 1
    assert await counted(limited, 'lex_refusals_total{code="too_many_requests"}') == refusals + 1
    assert limited.standin.stats.requests == 2


async def test_new_sessions_are_no_way_around_the_limit_of_a_client(limited: Lex) -> None:
    answers = [await post(limited, f"s{number}") for number in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]


@pytest.mark.parametrize("transport", [ServerSentEvents(), WebSockets()], ids=["sse", "ws"])
async def test_every_transport_counts_and_is_refused(limited: Lex, transport: Transport) -> None:
    for _ in range(2):
        async with transport.ask(limited, "Hello", "s1") as reader:
            await reader.rest()

    assert await transport.refused(limited, "Hello", "s1") == "too_many_requests"
    async with transport.ask(limited, "Hello", "s2") as reader:
        assert (await reader.rest())[-1][0] == "end"


async def test_messages_of_a_session_count_too(limited: Lex) -> None:
    session_id = (await limited.client.post("/sessions")).json()["session_id"]
    url = f"/sessions/{session_id}/messages"

    answers = [await limited.client.post(url, json={"content": "Hello"}) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]


async def test_a_refused_websocket_query_says_when_and_the_connection_stays(limited: Lex) -> None:
    async with connect(address(limited), proxy=None) as socket:
        for _ in range(2):
            await socket.send("Hello")
            await until_end(socket)
        await socket.send("Hello")
        refusal = json.loads(await socket.recv())
        await socket.send('{"type": "stop"}')
        await socket.send("{")
        still_there = json.loads(await socket.recv())

    assert refusal["type"] == "error"
    assert refusal["data"]["code"] == "too_many_requests"
    assert 55 <= refusal["data"]["retry_after"] <= 60
    assert still_there["data"]["code"] == "invalid_field"


async def test_an_event_source_is_refused_in_its_stream(limited: Lex) -> None:
    asked = {"query": "Hello", "session_id": "s1"}
    for _ in range(2):
        await limited.client.get("/query", params=asked)

    answer = await limited.client.get("/query", params=asked)

    assert answer.status_code == 200
    assert "retry-after" not in answer.headers
    assert answer.headers["ratelimit"].startswith('"session-minute";r=0;')
    (_, error), end = parse(without_ids(answer.text))
    assert json.loads(error)["code"] == "too_many_requests"
    assert 55 <= json.loads(error)["retry_after"] <= 60
    assert end == ("end", "")


async def test_coming_back_or_looking_is_never_refused_for_a_rate(limited: Lex) -> None:
    asked = {"query": "Hello", "session_id": "s1"}
    first = await limited.client.get("/query", params=asked)
    turn_id, last = first.headers["x-turn-id"], ids_of(first.text)[1]
    while (await post(limited)).status_code == 200:
        pass

    for _ in range(5):
        again = await limited.client.get("/query", params=asked, headers={"Last-Event-ID": last})
        assert parse(without_ids(again.text))[-1] == ("end", "")
        for path in (f"/turns/{turn_id}/events", "/sessions/s1/messages", f"/turns/{turn_id}"):
            assert (await limited.client.get(path)).status_code == 200
        assert (await limited.client.delete(f"/turns/{turn_id}")).status_code == 204


async def test_a_key_that_has_started_a_turn_costs_nothing(limited: Lex) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await post(limited, **headers)

    replays = [await post(limited, **headers) for _ in range(5)]

    assert {replay.headers["x-turn-id"] for replay in replays} == {first.headers["x-turn-id"]}
    assert (await post(limited)).headers["ratelimit"].startswith('"session-minute";r=0;')


async def test_an_invalid_query_costs_nothing(limited: Lex) -> None:
    for _ in range(5):
        await limited.client.post("/query", json={"query": "x" * 5000, "session_id": "s1"})
        await limited.client.post("/query", json={"session_id": "s1"})

    assert (await post(limited)).headers["ratelimit"].startswith('"session-minute";r=1;')


async def test_a_limit_can_be_switched_off() -> None:
    async with lex(rate_limit_session="none", rate_limit_client="2/minute") as service:
        answers = [await post(service) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit-policy"] == '"client-minute";q=2;w=60'


@asynccontextmanager
async def streaming(service: Lex, session_id: str) -> AsyncIterator[httpx.Response]:
    body = {"query": "Wait", "session_id": session_id}
    async with service.client.stream("POST", "/query", json=body) as answer:
        assert answer.status_code == 200
        yield answer


async def test_a_client_has_so_many_streams_and_room_again_when_one_ends() -> None:
    async with lex(max_streams_per_client=2) as service:
        service.standin.script(FOREVER, contains="Wait", times=None)
        before = await counted(service, 'lex_rate_limited_total{limit="streams"}')
        async with streaming(service, "s1"):
            async with streaming(service, "s2"):
                refused = await post(service, "s3")
            async with waiting():
                while (await post(service, "s3")).status_code != 200:
                    await asyncio.sleep(0.01)

        assert refused.status_code == 429
        assert refused.json()["code"] == "too_many_requests"
        assert refused.headers["retry-after"] == "5"
        assert await counted(service, 'lex_rate_limited_total{limit="streams"}') > before


async def test_a_turn_that_is_refused_by_its_session_gives_its_slot_back() -> None:
    async with lex(max_streams_per_client=2) as service:
        service.standin.script(FOREVER, contains="Wait", times=None)
        async with streaming(service, "s1"):
            busy = [(await post(service, "s1")).status_code for _ in range(5)]
            other = await post(service, "s2")

    assert busy == [409] * 5
    assert other.status_code == 200


async def abandon(service: Lex, streams: int, *, at_once: int) -> None:
    """Open this many streams in random sessions, and leave each without reading it."""
    gate = asyncio.Semaphore(at_once)

    async def leave(number: int) -> None:
        async with gate:
            reader, writer = await asyncio.open_connection(*service.url[7:].split(":"))
            body = json.dumps({"query": "Wait", "session_id": f"s{number % 50}"}).encode()
            writer.write(
                b"POST /query HTTP/1.1\r\nhost: lex\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(body), body)
            )
            if number % 2:
                await reader.readline()
            writer.close()
            await writer.wait_closed()

    await asyncio.gather(*(leave(number) for number in range(streams)))


async def assert_not_locked_out(service: Lex, *, slots: int) -> None:
    """Assert that a client can open as many streams as it may, and no more."""
    async with waiting():
        while (await service.client.get("/readyz")).json()["free_slots"] != 2000:
            await asyncio.sleep(0.01)
    opened = [streaming(service, f"new{number}") for number in range(slots)]
    async with waiting():
        await asyncio.gather(*(stream.__aenter__() for stream in opened))
    assert (await post(service, "last")).status_code == 429
    await asyncio.gather(*(stream.__aexit__(None, None, None) for stream in opened))


async def test_a_client_that_abandons_streams_is_not_locked_out() -> None:
    async with lex(max_streams_per_client=20) as service:
        service.standin.script(FOREVER, contains="Wait", times=None)

        await abandon(service, 500, at_once=40)

        await assert_not_locked_out(service, slots=20)


@pytest.mark.parametrize(
    ("trusted", "forwarded", "is_another"),
    [
        ("127.0.0.1", "192.0.2.7", True),
        ("none", "192.0.2.7", False),
        ("192.0.2.200", "192.0.2.7", False),
        # The right-most untrusted address counts; the client may have forged those before it.
        ("127.0.0.1", "10.0.0.1, 127.0.0.1", True),
        ("127.0.0.1,10.0.0.0/8", "192.0.2.7, 10.0.0.1", True),
    ],
)
async def test_an_address_is_believed_from_trusted_proxies_only(
    trusted: str, forwarded: str, *, is_another: bool
) -> None:
    async with lex(rate_limit_client="1/minute", forwarded_allow_ips=trusted) as service:
        await post(service, "s1")

        answer = await post(service, "s2", **{"X-Forwarded-For": forwarded})

    assert (answer.status_code == 200) is is_another


async def test_a_forged_address_before_the_real_one_is_no_way_around_a_limit() -> None:
    async with lex(rate_limit_client="1/minute") as service:
        answers = [
            await post(service, "s1", **{"X-Forwarded-For": f"198.51.100.{number}, 192.0.2.7"})
            for number in range(2)
        ]

    assert [answer.status_code for answer in answers] == [200, 429]


async def test_every_refusal_is_counted_by_its_code(service: Lex) -> None:
    before = await counted(service, 'lex_refusals_total{code="session_not_found"}')

    await service.client.get("/sessions/none")

    assert await counted(service, 'lex_refusals_total{code="session_not_found"}') == before + 1
    for code in ("overloaded", "draining", "session_busy", "storage_unavailable", "invalid_field"):
        assert await counted(service, f'lex_refusals_total{{code="{code}"}}') >= 0


async def test_a_websocket_that_is_not_let_in_is_counted(service: Lex) -> None:
    before = await counted(service, 'lex_refusals_total{code="not_authenticated"}')

    async with connect(
        address(service, "s1"), proxy=None, origin=Origin("https://evil.example")
    ) as strange:
        with pytest.raises(ConnectionClosed):
            await strange.recv()

    assert await counted(service, 'lex_refusals_total{code="not_authenticated"}') == before + 1


async def test_a_client_has_a_day_beside_its_minute_by_default() -> None:
    default = Settings.model_fields["rate_limit_client"].default
    async with lex(rate_limit_session="none", rate_limit_client=default) as service:
        answer = await post(service)

    assert answer.headers["ratelimit-policy"] == (
        '"client-minute";q=120;w=60, "client-day";q=2000;w=86400'
    )


async def test_an_ipv6_network_is_told_what_it_has_left_together() -> None:
    async with lex(rate_limit_session="none", rate_limit_client="1/minute") as service:
        answers = [
            await post(service, "s1", **{"X-Forwarded-For": f"2001:db8:1:{household:x}::1"})
            for household in range(11)
        ]

    assert [answer.status_code for answer in answers] == [200] * 10 + [429]
    assert answers[0].headers["ratelimit"] == '"client-minute";r=0;t=60, "network-minute";r=9;t=60'
    detail = answers[-1].json()["detail"]
    assert detail == "Your network has sent too many queries. Try again later."
