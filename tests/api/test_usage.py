"""`GET /usage`, and the usage of sessions and turns."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backend.api.auth.api_keys import hash_of
from tests.credentials import WITH_SECRET, bearer, token, with_key_file
from tests.serving import Lex, lex
from tests.waiting import waiting

PRICES = """
source = "a test"
date = 2026-11-27

[models.groq-standin]
input = 1.0
cached_input = 0.5
output = 2.0
"""
STANDIN: dict[str, Any] = {"model_name": "groq-standin", "model_fallbacks": "none"}


def today() -> str:
    return str(datetime.now(UTC).date())


async def test_a_turn_a_session_and_the_caller_show_the_same(tmp_path: Path) -> None:
    prices = tmp_path / "prices.toml"
    prices.write_text(PRICES)
    async with lex(**STANDIN, prices_file=prices, summary_idle_seconds=0) as service:
        await service.ask("What is the weather in New York?")
        session = (await service.client.get("/sessions/s1")).json()
        turn = (await service.client.get(f"/turns/{session['last_turn']['turn_id']}")).json()
        report = (await service.client.get("/usage")).json()

    spent = turn["spent"]
    assert [call["model"] for call in turn["calls"]] == ["groq-standin"] * 2
    assert spent["calls"] == 2
    assert (spent["input_tokens"], spent["output_tokens"]) == tuple(turn["usage"].values())
    expected = spent["input_tokens"] + 2 * spent["output_tokens"]
    assert spent["cost_usd"] == pytest.approx(expected / 1e6)
    assert (spent["estimated_tokens"], spent["unpriced_tokens"]) == (0, 0)
    assert session["spent"] == report["total"] == spent
    assert report["days"] == [{**spent, "day": today(), "model": "groq-standin", "purpose": "turn"}]
    assert "owners" not in report or report["owners"] is None


async def test_without_dates_the_last_thirty_days_are_shown(service: Lex) -> None:
    report = (await service.client.get("/usage")).json()

    assert report["to"] == today()
    days = datetime.fromisoformat(report["to"]) - datetime.fromisoformat(report["from"])
    assert days == timedelta(days=29)


async def test_only_the_days_between_are_shown(service: Lex) -> None:
    await service.ask("Hello")

    past = (await service.client.get("/usage?from=2020-01-01&to=2020-12-31")).json()

    assert past["days"] == []
    assert past["total"]["calls"] == 0
    assert (past["from"], past["to"]) == ("2020-01-01", "2020-12-31")


@pytest.mark.parametrize(
    ("query", "first", "last"),
    [
        ("from=2020-01-01&to=2026-01-01", "2020-01-01", "2026-01-01"),
        ("from=2026-11-02&to=2026-11-01", "2026-11-02", "2026-11-01"),
        ("to=2026-03-30", "2026-03-01", "2026-03-30"),
        ("to=0001-01-05", "0001-01-01", "0001-01-05"),
        ("from=9999-12-31&to=9999-12-31", "9999-12-31", "9999-12-31"),
    ],
)
async def test_any_range_is_shown_even_if_it_has_no_day(
    service: Lex, query: str, first: str, last: str
) -> None:
    report = (await service.client.get(f"/usage?{query}")).json()

    assert (report["from"], report["to"], report["days"]) == (first, last, [])


@pytest.mark.parametrize("day", ["yesterday", "0", "2026-2-1", "2026-02-30", "2026-11-27T00:00"])
async def test_what_is_no_day_is_refused(service: Lex, day: str) -> None:
    answer = await service.client.get("/usage", params={"from": day})

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_field")
    assert [error["field"] for error in problem["errors"]] == ["from"]


def keys_with_an_operator(path: Path) -> Path:
    entries = [
        {"name": "page", "hash": hash_of("alice's"), "user": "alice"},
        {"name": "billing", "hash": hash_of("the operator's"), "user": "otto", "operator": True},
    ]
    path.write_text(json.dumps({"keys": entries}))
    return path


async def report(service: Lex, query: str = "", **headers: Any) -> dict[str, Any]:
    answer = await service.client.get(f"/usage{query}", headers=headers["headers"])
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def ask_as(service: Lex, headers: dict[str, str]) -> None:
    body = {"query": "Hello", "session_id": "s1"}
    await service.client.post("/query", json=body, headers=headers)


async def test_a_caller_sees_its_own_and_an_operator_everybodys(tmp_path: Path) -> None:
    keys = keys_with_an_operator(tmp_path / "keys.json")
    async with lex(**with_key_file(keys), **STANDIN, summary_idle_seconds=0) as service:
        alice, operator = bearer("alice's"), bearer("the operator's")
        await ask_as(service, alice)
        await ask_as(service, alice)
        await ask_as(service, operator)

        own = await report(service, headers=alice)
        everybodys = await report(service, headers=operator)
        of_one = await report(service, "?owner=user:alice", headers=operator)
        anothers = await report(service, "?owner=user:otto", headers=alice)
        named = await report(service, "?owner=user:alice", headers=alice)
        lines = (await service.client.get("/metrics")).text

    assert (own["total"]["calls"], own["owners"]) == (2, None)
    assert everybodys["total"]["calls"] == 3
    assert [(one["owner"], one["calls"]) for one in everybodys["owners"]] == [
        ("user:alice", 2),
        ("user:otto", 1),
    ]
    assert of_one["total"]["calls"] == 2
    assert [one["owner"] for one in of_one["owners"]] == ["user:alice"]
    assert (anothers["total"]["calls"], anothers["days"]) == (0, [])
    assert named["total"]["calls"] == 2
    assert re.search(r'^lex_client_tokens_total\{client="page"\} [1-9]', lines, re.MULTILINE)


async def test_a_cookie_of_an_operator_is_an_operators_until_its_key_is_not(
    tmp_path: Path,
) -> None:
    keys = keys_with_an_operator(tmp_path / "keys.json")
    async with lex(**with_key_file(keys), **STANDIN) as service:
        signed_in = await service.client.post(
            "/auth/session", headers=bearer("the operator's") | {"Origin": service.url}
        )
        cookie = {
            "Cookie": signed_in.headers["set-cookie"].partition(";")[0],
            "Origin": service.url,
        }
        with_cookie = await report(service, headers=cookie)
        keys.write_text(keys.read_text().replace(', "operator": true', ""))

        async with waiting():
            while (await service.client.get("/usage", headers=cookie)).status_code == 200:
                await asyncio.sleep(0.05)
        plain = await report(service, headers=bearer("the operator's"))

    assert with_cookie["owners"] == []
    assert plain["owners"] is None


@pytest.mark.parametrize(
    ("roles", "is_operator"),
    [
        (["operator"], True),
        (["sales", "operator"], True),
        ("sales operator", True),
        (["sales"], False),
        ("operators", False),
        ([["operator"]], False),
        ({"operator": True}, False),
        (1, False),
        (None, False),
    ],
)
async def test_a_token_with_the_role_is_an_operators(roles: object, is_operator: bool) -> None:
    async with lex(**WITH_SECRET, **STANDIN) as service:
        shown = await report(service, headers=bearer(token("123", roles=roles)))

    assert (shown["owners"] is not None) == is_operator


async def test_the_claim_with_the_roles_can_have_another_name() -> None:
    async with lex(**WITH_SECRET, **STANDIN, jwt_roles_claim="groups") as service:
        shown = await report(service, headers=bearer(token("123", groups=["operator"])))

    assert shown["owners"] is not None
