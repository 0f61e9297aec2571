"""Which credentials are accepted, and that users only see their own data."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.credentials import WITH_SECRET, bearer, key_file, token, with_key_file
from tests.serving import Lex, ids_of, lex, outcome_of, parse, text_of, without_ids, without_outcome

ALICE, BOB = bearer(token("alice")), bearer(token("bob"))
PAGE = "http://localhost:3000"
TURN = "0123456789abcdef"

HELLO = {"role": "user", "content": "Hello"}
UI_MESSAGE = {"role": "user", "parts": [{"type": "text", "text": "Hello"}]}
AG_UI_MESSAGE = {"id": "m1", "role": "user", "content": "Hello"}
GUARDED: list[tuple[str, str, dict[str, Any] | None]] = [
    ("POST", "/query", {"query": "Hello", "session_id": "s1"}),
    ("POST", "/sessions", None),
    ("GET", "/sessions", None),
    ("GET", "/sessions/s1", None),
    ("PATCH", "/sessions/s1", {"title": "Cars"}),
    ("DELETE", "/sessions/s1", None),
    ("POST", "/sessions/s1/messages", {"content": "Hello"}),
    ("GET", "/sessions/s1/messages", None),
    ("GET", "/sessions/s1/events", None),
    ("GET", f"/turns/{TURN}", None),
    ("GET", "/usage", None),
    ("POST", "/v1/chat/completions", {"model": "lex", "messages": [HELLO]}),
    ("GET", "/v1/models", None),
    ("GET", "/v1/models/lex", None),
    ("POST", "/api/chat", {"id": "c1", "messages": [UI_MESSAGE]}),
    ("GET", "/api/chat/c1/messages", None),
    ("GET", "/api/chat/c1/stream", None),
    ("DELETE", "/api/chat/c1/stream", None),
    ("POST", "/api/chat/c1/stop", None),
    ("POST", "/ag-ui", {"threadId": "s1", "runId": "r1", "messages": [AG_UI_MESSAGE]}),
    ("GET", f"/turns/{TURN}/events", None),
    ("DELETE", f"/turns/{TURN}", None),
    ("POST", "/auth/session", None),
]
OPEN: list[tuple[str, str]] = [
    ("GET", "/health"),
    ("GET", "/livez"),
    ("GET", "/readyz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("DELETE", "/auth/session"),
]


@pytest.fixture
async def service() -> AsyncIterator[Lex]:
    async with lex(**WITH_SECRET) as running:
        yield running


REFUSAL = (
    "application/problem+json",
    {
        "type": "about:blank",
        "title": "Unauthorized",
        "status": 401,
        "detail": "This needs a valid credential.",
        "code": "not_authenticated",
    },
)
OPENAI_REFUSAL = (
    "application/json",
    {
        "error": {
            "message": "This needs a valid credential.",
            "type": "authentication_error",
            "param": None,
            "code": "invalid_api_key",
        }
    },
)


def is_refusal(answer: httpx.Response) -> bool:
    """Whether the answer is the refusal, which is the same for every reason."""
    return (
        answer.status_code == 401
        and answer.headers["www-authenticate"] == "Bearer"
        and (answer.headers["content-type"], answer.json())
        == (OPENAI_REFUSAL if answer.url.path.startswith("/v1/") else REFUSAL)
    )


def code_in(stream: str) -> str:
    """Return the code of a refusal that is a stream."""
    error, end = parse(without_ids(stream))
    assert end == ("end", "")
    return str(json.loads(error[1])["code"])


BAD: dict[str, Any] = {
    "nothing": {},
    "another scheme": {"Authorization": "Basic YTpi"},
    "no credential": {"Authorization": "Bearer"},
    "no token": bearer("hello"),
    "expired": bearer(token("alice", exp=int(time.time()) - 60)),
    "not yet valid": bearer(token("alice", nbf=int(time.time()) + 3600)),
    "another audience": bearer(token("alice", aud="other")),
    "too long": bearer(token("alice", padding="x" * 8192)),
    "no latin": {"Authorization": "Bearer é".encode()},
    "two": [("Authorization", f"Bearer {token('alice')}")] * 2,
    "only a user": {"X-User-Id": "alice"},
    "a cookie of nobody": {"Cookie": "lex_session=x", "Origin": PAGE},
}


@pytest.mark.parametrize("headers", BAD.values(), ids=BAD)
async def test_every_route_refuses_a_missing_or_invalid_credential(
    service: Lex, headers: Any
) -> None:
    for method, path, body in GUARDED:
        answer = await service.client.request(method, path, json=body, headers=headers)
        assert is_refusal(answer), (method, path, answer.text)

    stream = await service.client.get("/query?query=Hello", headers=headers)
    assert code_in(stream.text) == "not_authenticated"
    assert service.standin.stats.requests == 0


def _as_listed(path: str) -> str:
    path = path.replace("s1", "{session_id}").replace("c1", "{chat_id}")
    path = path.replace(TURN, "{turn_id}")
    return path.replace("/models/lex", "/models/{model}")


async def test_the_routes_above_are_all_there_are(service: Lex) -> None:
    openapi = (await service.client.get("/openapi.json")).json()["paths"]
    listed = {(method.upper(), path) for path, methods in openapi.items() for method in methods}
    paths = [*((method, path) for method, path, _ in GUARDED), *OPEN]
    named = {(method, _as_listed(path)) for method, path in paths}

    assert listed - named == {("GET", "/query")}


async def test_probes_and_metrics_are_open(service: Lex) -> None:
    for method, path in OPEN:
        answer = await service.client.request(method, path)
        assert answer.status_code in (200, 204), path


async def test_the_description_says_where_a_credential_is_needed(service: Lex) -> None:
    openapi = (await service.client.get("/openapi.json")).json()

    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            is_open = (method.upper(), path) in OPEN
            schemes = [next(iter(each)) for each in operation.get("security", [])]
            expected = ["credential"] if path == "/auth/session" else ["credential", "cookie"]
            if path != "/auth/session" or method != "delete":
                assert schemes == ([] if is_open else expected), path
                assert ("401" in operation["responses"]) is not is_open
    assert set(openapi["components"]["securitySchemes"]) == {"credential", "cookie"}


async def test_without_authentication_the_description_asks_for_none() -> None:
    async with lex() as service:
        openapi = (await service.client.get("/openapi.json")).json()
        exchanged = await service.client.post("/auth/session")

    assert "security" not in openapi["paths"]["/query"]["post"]
    assert exchanged.json() == {"expires_at": None}
    assert "set-cookie" not in exchanged.headers


async def test_sessions_and_turns_belong_to_their_caller(service: Lex) -> None:
    asked = await service.client.post(
        "/query", json={"query": "Hello", "session_id": "s1", "resume": True}, headers=ALICE
    )
    turn, last_id = asked.headers["x-turn-id"], ids_of(asked.text)[-1]
    read_on = {"Last-Event-ID": f"{turn}-1"}

    hers = [
        await service.client.get("/sessions/s1", headers=ALICE),
        await service.client.get(f"/turns/{turn}", headers=ALICE),
        await service.client.get(f"/turns/{turn}/events", headers={**ALICE, **read_on}),
    ]
    his = [
        await service.client.request(method, path.replace(TURN, turn), json=body, headers=BOB)
        for method, path, body in GUARDED
        if path not in ("/query", "/sessions", "/auth/session", "/usage")
        and not path.startswith(("/v1/", "/api/chat", "/ag-ui"))
    ]
    his.append(await service.client.get(f"/turns/{turn}/events", headers={**BOB, **read_on}))
    for url, said in (("/query", {"query": "x"}), ("/sessions/s1/messages", {"content": "x"})):
        for place in (f"{turn}-1", last_id):
            headers = {**BOB, "Last-Event-ID": place}
            his.append(await service.client.post(url, json=said, headers=headers))
    his_stream = await service.client.get("/query?query=x", headers={**BOB, **read_on})
    at_end = await service.client.get("/query", headers={**BOB, "Last-Event-ID": last_id})

    assert [answer.status_code for answer in hers] == [200] * 3
    assert [answer.status_code for answer in his] == [404] * len(his)
    assert {answer.json()["code"] for answer in his} == {"session_not_found", "turn_not_found"}
    assert code_in(his_stream.text) == code_in(at_end.text) == "turn_not_found"
    still = await service.client.get("/sessions/s1/messages", headers=ALICE)
    assert len(still.json()["messages"]) == 2


async def test_a_chat_of_another_caller_looks_new(service: Lex) -> None:
    await service.client.post("/query", json={"query": "Hello", "session_id": "c1"}, headers=ALICE)

    hers, his = [
        (await service.client.get("/api/chat/c1/messages", headers=headers)).json()
        for headers in (ALICE, BOB)
    ]
    stopped = await service.client.post("/api/chat/c1/stop", headers=BOB)

    assert (len(hers), his) == (2, [])
    assert stopped.status_code == 204


async def test_the_same_name_and_the_same_key_are_another_session_for_another_caller(
    service: Lex,
) -> None:
    body = {"query": "Hello", "session_id": "s1"}
    key = {"Idempotency-Key": "k1"}

    turns = [
        (await service.client.post("/query", json=body, headers={**who, **key})).headers[
            "x-turn-id"
        ]
        for who in (ALICE, BOB, ALICE)
    ]

    assert turns[0] == turns[2] != turns[1]
    assert service.standin.stats.requests == 2


async def test_nobody_else_can_stop_or_follow_a_turn_that_runs(service: Lex) -> None:
    service.standin.script({"text": "one two three four", "tokens_per_second": 8})
    body = {"query": "Count", "session_id": "s1", "resume": True}

    async with service.client.stream("POST", "/query", json=body, headers=ALICE) as stream:
        turn = stream.headers["x-turn-id"]
        stopped = await service.client.delete(f"/turns/{turn}", headers=BOB)
        followed = await service.client.get(f"/turns/{turn}/events", headers=BOB)
        forgotten = await service.client.delete("/sessions/s1", headers=BOB)
        text = "".join([part async for part in stream.aiter_text()])

    assert [stopped.status_code, followed.status_code, forgotten.status_code] == [404] * 3
    events = parse(without_ids(text))
    assert text_of(events).endswith(" four")
    assert without_outcome(events)[-1] == ("end", "")
    assert outcome_of(events)["outcome"] == "completed"


# --- tools ---------------------------------------------------------------------------------


async def used(service: Lex, headers: dict[str, str], tool: str, **arguments: str) -> Any:
    """Return the output of a tool that the model calls with these arguments."""
    service.standin.script({"calls": [{"name": tool, "arguments": arguments}]}, {"text": "Done."})
    body = {"query": "I am user 123, says the page that I paste here."}
    events = parse((await service.client.post("/query", json=body, headers=headers)).text)
    (output,) = [json.loads(data)["output"] for event, data in events if event == "tool_output"]
    return output


def wednesday() -> str:
    """Return the next Wednesday, when every dealership is open."""
    day = datetime.now(UTC).date() + timedelta(days=7)
    return (day + timedelta(days=(2 - day.weekday()) % 7)).isoformat()


async def test_a_profile_is_the_callers_even_if_the_model_names_another(service: Lex) -> None:
    hers = await used(service, ALICE, "fetch_user_profile", user_id="123")
    own = await used(service, bearer(token("123")), "fetch_user_profile", user_id="alice")

    assert hers["error"]["code"] == "unknown_user"
    assert (own["user_id"], own["name"]) == ("123", "Sample Customer One")


async def test_a_booking_is_the_callers_even_if_the_model_names_another(service: Lex) -> None:
    wanted = {
        "dealership_id": "manhattan",
        "date": wednesday(),
        "time": "10:00",
        "car_model": "Apex GT",
    }

    booked = await used(service, ALICE, "schedule_appointment", user_id="123", **wanted)
    hers = await used(service, ALICE, "fetch_user_profile")
    of_123 = await used(service, bearer(token("123")), "fetch_user_profile")

    assert booked["user_id"] == "alice"
    ids = [drive["confirmation_id"] for drive in hers["coming_test_drives"]]
    assert ids == [booked["confirmation_id"]]
    assert booked["confirmation_id"] not in str(of_123)


# --- API keys ------------------------------------------------------------------------------


@pytest.fixture
async def keyed(tmp_path: Path) -> AsyncIterator[Lex]:
    path = key_file(tmp_path / "keys.json", own="alice", spare="alice", gateway=None)
    async with lex(**with_key_file(path)) as running:
        yield running


async def owner_sees(service: Lex, headers: dict[str, str], session_id: str = "s1") -> int:
    answer = await service.client.get(f"/sessions/{session_id}", headers=headers)
    return answer.status_code


async def test_keys_of_one_user_and_a_trusted_one_that_names_it_see_the_same(keyed: Lex) -> None:
    body = {"query": "Hello", "session_id": "s1"}
    made = await keyed.client.post("/query", json=body, headers=bearer("own"))
    trusted = bearer("gateway")

    assert made.status_code == 200
    assert await owner_sees(keyed, bearer("spare")) == 200
    assert await owner_sees(keyed, {**trusted, "X-User-Id": "alice"}) == 200
    assert await owner_sees(keyed, {**trusted, "X-User-Id": "bob"}) == 404
    assert await owner_sees(keyed, bearer("other")) == 401
    assert await owner_sees(keyed, bearer(token("alice"))) == 401


@pytest.mark.parametrize(
    "headers",
    [
        {**bearer("own"), "X-User-Id": "bob"},
        {**bearer("own"), "X-User-Id": "alice"},
        bearer("gateway"),
        {**bearer("gateway"), "X-User-Id": ""},
        {**bearer("gateway"), "X-User-Id": "a b"},
        {**bearer("gateway"), "X-User-Id": "x" * 256},
        [*bearer("gateway").items(), ("X-User-Id", "alice"), ("X-User-Id", "bob")],
    ],
    ids=str,
)
async def test_a_user_that_is_passed_is_believed_from_trusted_keys_and_refused_from_others(
    keyed: Lex, headers: Any
) -> None:
    for method, path, body in GUARDED:
        answer = await keyed.client.request(method, path, json=body, headers=headers)
        assert answer.status_code == 422, path
        said = answer.json()
        field = said["error"]["param"] if "error" in said else said["errors"][0]["field"]
        assert field == "X-User-Id"
        assert "bob" not in answer.text
    stream = await keyed.client.get("/query?query=Hello", headers=headers)
    assert code_in(stream.text) == "invalid_field"


async def test_tools_act_for_whom_a_trusted_key_names(keyed: Lex) -> None:
    headers = {**bearer("gateway"), "X-User-Id": "123"}

    profile = await used(keyed, headers, "fetch_user_profile", user_id="alice")

    assert profile["name"] == "Sample Customer One"


# --- the cookie ----------------------------------------------------------------------------


async def cookie(service: Lex, **headers: str) -> dict[str, str]:
    exchanged = await service.client.post("/auth/session", headers={**ALICE, **headers})
    assert exchanged.status_code == 200, exchanged.text
    service.client.cookies.clear()
    return {"Cookie": exchanged.headers["set-cookie"].partition(";")[0]}


async def test_the_cookie_is_for_browsers_and_not_for_scripts(service: Lex) -> None:
    before = time.time()

    credential = bearer(token("alice", exp=int(before) + 600))
    plain = await service.client.post("/auth/session", headers=credential)
    secure = await service.client.post(
        "/auth/session", headers={**credential, "X-Forwarded-Proto": "https"}
    )

    name, *rest = plain.headers["set-cookie"].split("; ")
    assert name.startswith("lex_session=")
    assert set(rest) - {each for each in rest if each.startswith("Max-Age=")} == {
        "HttpOnly",
        "Path=/",
        "SameSite=strict",
    }
    name, *rest = secure.headers["set-cookie"].split("; ")
    assert name.startswith("__Host-lex_session=")
    assert "Secure" in rest
    assert plain.headers["cache-control"] == "no-store"
    # No longer than the token, which is valid for ten minutes.
    (age,) = [int(each[8:]) for each in rest if each.startswith("Max-Age=")]
    assert 500 < age <= 600
    assert before < time.time() < before + 100
    assert token("alice") not in plain.text


async def test_a_cookie_is_as_good_as_the_credential_from_an_allowed_page(service: Lex) -> None:
    headers = {**await cookie(service), "Origin": PAGE}

    for method, path, body in GUARDED:
        answer = await service.client.request(method, path, json=body, headers=headers)
        assert (answer.status_code == 401) is (path == "/auth/session"), path
    stream = await service.client.get("/query?query=Hello&session_id=s2", headers=headers)
    assert parse(without_ids(stream.text))[-1] == ("end", "")
    assert await owner_sees(service, ALICE, "s2") == 200


FOREIGN: dict[str, dict[str, str]] = {
    "no origin": {},
    "another site": {"Origin": "https://evil.example"},
    "a sandbox": {"Origin": "null"},
    "a sibling": {"Sec-Fetch-Site": "same-site"},
    "another site's link": {"Sec-Fetch-Site": "cross-site"},
    "an address typed or clicked": {"Sec-Fetch-Site": "none"},
    "another site's page": {"Referer": "https://evil.example/"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
async def test_a_cookie_from_a_page_of_another_origin_is_none(
    service: Lex, headers: dict[str, str]
) -> None:
    given = {**await cookie(service), **headers}

    for method, path, body in GUARDED:
        answer = await service.client.request(method, path, json=body, headers=given)
        assert is_refusal(answer), (method, path)
    stream = await service.client.get("/query?query=Book+it", headers=given)
    assert code_in(stream.text) == "not_authenticated"
    assert service.standin.stats.requests == 0


async def test_our_own_page_needs_no_origin_where_browsers_send_none(service: Lex) -> None:
    own = await cookie(service)
    same = {**own, "Sec-Fetch-Site": "same-origin"}

    stream = await service.client.get("/query?query=Hello&session_id=s1", headers=same)
    by_referer = await service.client.get(
        "/sessions/s1", headers={**own, "Referer": f"{service.url}/"}
    )
    post = await service.client.post("/sessions", headers=same)

    assert parse(without_ids(stream.text))[-1] == ("end", "")
    assert by_referer.status_code == 200
    assert is_refusal(post)


async def test_a_credential_decides_over_a_cookie(service: Lex) -> None:
    hers = {**await cookie(service), "Origin": PAGE}
    await service.client.post("/query", json={"query": "Hello", "session_id": "s1"}, headers=ALICE)

    assert await owner_sees(service, hers) == 200
    assert await owner_sees(service, {**hers, **BOB}) == 404
    assert await owner_sees(service, {**hers, **bearer("bad")}) == 401
    assert await owner_sees(service, {**hers, "Authorization": "Basic YTpi"}) == 200
    two = [*hers.items(), ("Authorization", "Basic YTpi"), *bearer("bad").items()]
    assert (await service.client.get("/sessions/s1", headers=two)).status_code == 401


async def test_a_cookie_cannot_ask_for_another_user(service: Lex) -> None:
    headers = {**await cookie(service), "Origin": PAGE, "X-User-Id": "bob"}

    assert await owner_sees(service, headers) == 422


async def test_the_end_of_the_exchange_takes_the_cookie_back(service: Lex) -> None:
    ended = await service.client.delete("/auth/session")

    assert ended.status_code == 204
    value, *rest = ended.headers["set-cookie"].split("; ")
    assert value == 'lex_session=""'
    assert "Max-Age=0" in rest


async def test_a_cookie_is_not_a_credential(service: Lex) -> None:
    value = (await cookie(service))["Cookie"].partition("=")[2]

    assert await owner_sees(service, bearer(value)) == 401


# --- other origins -------------------------------------------------------------------------


async def preflight(service: Lex, origin: str) -> httpx.Response:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization, content-type",
    }
    return await service.client.options("/query", headers=headers)


async def test_listed_pages_may_send_credentials_and_cookies(service: Lex) -> None:
    allowed = await preflight(service, PAGE)
    foreign = await preflight(service, "https://evil.example")

    assert allowed.headers["access-control-allow-origin"] == PAGE
    assert allowed.headers["access-control-allow-credentials"] == "true"
    assert "Authorization" in allowed.headers["access-control-allow-headers"]
    assert "access-control-allow-origin" not in foreign.headers


async def test_without_authentication_all_pages_can_be_allowed_and_no_cookie_is() -> None:
    async with lex(cors_origins="*") as service:
        allowed = await preflight(service, "https://any.example")

    assert allowed.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in allowed.headers


# --- WebSockets ----------------------------------------------------------------------------


@asynccontextmanager
async def socket(
    service: Lex, headers: dict[str, str], session_id: str = "s1"
) -> AsyncIterator[ClientConnection]:
    url = f"{service.url.replace('http', 'ws')}/ws/sessions/{session_id}"
    async with connect(url, proxy=None, additional_headers=headers) as connection:
        yield connection


async def closed_with(service: Lex, headers: dict[str, str]) -> int:
    async with socket(service, headers) as connection:
        with pytest.raises(ConnectionClosed) as closed:
            await connection.recv()
    assert closed.value.rcvd
    assert closed.value.rcvd.reason == ""
    return closed.value.rcvd.code


async def says(connection: ClientConnection, text: str) -> list[dict[str, Any]]:
    await connection.send(text)
    events = [json.loads(await connection.recv())]
    while events[-1]["type"] not in ("end", "error"):
        events.append(json.loads(await connection.recv()))
    return events


@pytest.mark.parametrize(
    "name", ["nothing", "another scheme", "no token", "expired", "only a user"]
)
async def test_a_socket_without_a_valid_credential_is_closed(service: Lex, name: str) -> None:
    assert await closed_with(service, BAD[name]) == 1008


async def test_a_socket_needs_cookie_and_origin_or_a_credential(service: Lex) -> None:
    own = await cookie(service)

    assert await closed_with(service, own) == 1008
    assert await closed_with(service, {**own, "Origin": "https://evil.example"}) == 1008
    assert await closed_with(service, {**own, "Sec-Fetch-Site": "same-origin"}) == 1008
    for headers in ({**own, "Origin": PAGE}, {**own, "Origin": service.url}, ALICE):
        async with socket(service, headers) as connection:
            assert (await says(connection, "Hello"))[-1]["type"] == "end"
    assert await owner_sees(service, ALICE) == 200
    assert await owner_sees(service, BOB) == 404


async def test_a_socket_of_another_origin_is_closed_without_authentication_too() -> None:
    async with lex() as service:
        assert await closed_with(service, {"Origin": "https://evil.example"}) == 1008
        for headers in ({}, {"Origin": PAGE}, {"Origin": service.url}):
            async with socket(service, headers) as connection:
                assert (await says(connection, "Hello"))[-1]["type"] == "end"


async def test_a_socket_neither_reads_nor_stops_another_callers_turns(service: Lex) -> None:
    service.standin.script({"text": "one two three four", "tokens_per_second": 8})
    async with socket(service, ALICE) as hers, socket(service, BOB) as his:
        await hers.send("Count")
        first = json.loads(await hers.recv())
        resume = json.dumps({"type": "resume", "last_event_id": first["id"]})

        (refusal,) = await says(his, resume)
        await his.send('{"type": "stop"}')
        answer = await says(his, "Hello")
        rest = [json.loads(await hers.recv()) for _ in range(5)]

    assert refusal["data"]["code"] == "turn_not_found"
    assert answer[-1]["type"] == "end"
    assert answer[0]["turn"] != first["turn"]
    assert [event["type"] for event in rest] == ["chunk", "chunk", "chunk", "outcome", "end"]


async def test_an_open_socket_asks_nothing_more_once_its_token_has_expired() -> None:
    async with lex(**WITH_SECRET, jwt_leeway_seconds=0) as service:
        expires_at = int(time.time()) + 2
        async with socket(service, bearer(token("alice", exp=expires_at))) as connection:
            first = await says(connection, "Hello")
            await asyncio.sleep(expires_at - time.time())
            await connection.send("Hello again")
            with pytest.raises(ConnectionClosed) as closed:
                await connection.recv()

    assert first[-1]["type"] == "end"
    assert closed.value.rcvd
    assert closed.value.rcvd.code == 1008
    assert service.standin.stats.requests == 1


async def test_an_event_source_that_was_refused_stays_away(service: Lex) -> None:
    refused = await service.client.get("/query?query=Hello")

    back = await service.client.get(
        "/query?query=Hello", headers={"Last-Event-ID": ids_of(refused.text)[-1]}
    )

    assert back.status_code == 204
