"""`GET /usage`, and the usage of sessions and turns."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.serving import Lex, lex

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
    ("query", "field"),
    [
        ("from=2026-11-02&to=2026-11-01", "from"),
        ("from=2020-01-01&to=2026-01-01", "from"),
        ("from=yesterday", "from"),
        ("to=0001-01-05", "to"),
        ("from=9999-12-31", "from"),
        ("owner=user:1", "owner"),
    ],
)
async def test_a_range_that_makes_no_sense_is_refused(service: Lex, query: str, field: str) -> None:
    answer = await service.client.get(f"/usage?{query}")

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "invalid_field")
    assert [error["field"] for error in problem["errors"]] == [field]
