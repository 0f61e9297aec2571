"""The ledger: the calls of each turn, and their sums."""

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from backend.domain.conversation import Message
from backend.domain.errors import SessionNotFound
from backend.domain.usage import ModelCall, Purpose, Spent, Usage, spent_by
from backend.storage.ports.stores import Stores
from backend.storage.ports.usage import DayUsage
from tests.contract.conversations import EVERYTHING, OWNER, ending, new_turn

BEFORE_AND_AFTER_FINISHING = True

USAGE = Usage(100, 20, cached_input_tokens=60, reasoning_tokens=8)


def a_call(
    model: str = "large",
    purpose: Purpose = "turn",
    *,
    is_estimated: bool = False,
    cost: int | None = 1_000,
) -> ModelCall:
    return ModelCall(
        model=model, purpose=purpose, usage=USAGE, is_estimated=is_estimated, cost=cost
    )


CALLS = (a_call(), a_call("small", is_estimated=True, cost=None), a_call())


async def spend(
    stores: Stores, *calls: ModelCall, owner: str = OWNER, session_id: str = "s1"
) -> str:
    turn = new_turn(owner=owner, session_id=session_id)
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    assert await stores.sessions.finish(replace(ending(turn), calls=calls))
    return turn.id


async def days(
    stores: Stores, *, owner: str | None = OWNER, around: timedelta = timedelta(days=1)
) -> list[DayUsage]:
    today = datetime.now(UTC).date()
    return list(await stores.usage.by_day(today - around, today + around, owner=owner))


async def test_a_turn_keeps_its_calls_in_order(stores: Stores) -> None:
    turn_id = await spend(stores, *CALLS)

    assert tuple((await stores.sessions.turn(OWNER, turn_id)).calls) == CALLS
    assert tuple((await stores.sessions.turns(OWNER, "s1"))[0].calls) == CALLS
    assert tuple((await stores.sessions.turn_with_log(OWNER, turn_id)).record.calls) == CALLS


async def test_calls_that_belong_to_nothing_that_is_stored_are_in_the_sums(stores: Stores) -> None:
    for _ in range(2):
        await stores.usage.enter(OWNER, [a_call(purpose="front_end"), a_call(purpose="front_end")])

    [day] = await days(stores)
    assert (day.purpose, day.spent.calls, day.spent.usage.input_tokens) == ("front_end", 4, 400)
    assert await days(stores, owner="somebody else") == []


async def test_a_session_adds_up_its_calls(stores: Stores) -> None:
    for _ in range(2):
        await spend(stores, *CALLS)

    spent = (await stores.sessions.get(OWNER, "s1")).spent

    assert spent == spent_by(CALLS + CALLS)
    assert (spent.calls, spent.estimated_tokens, spent.unpriced_tokens, spent.cost) == (
        6,
        240,
        240,
        4_000,
    )


async def test_sums_are_by_day_model_and_purpose(stores: Stores) -> None:
    await spend(stores, *CALLS)
    await spend(stores, *CALLS, owner="other")

    mine, everybody = await days(stores), await days(stores, owner=None)

    assert [(row.model, row.purpose, row.spent) for row in mine] == [
        ("large", "turn", spent_by(CALLS[::2])),
        ("small", "turn", spent_by(CALLS[1:2])),
    ]
    assert [row.spent for row in everybody] == [
        spent_by(CALLS[::2] * 2),
        spent_by(CALLS[1:2] * 2),
    ]


async def test_owners_come_with_the_most_tokens_first(stores: Stores) -> None:
    await spend(stores, a_call(), owner="little")
    await spend(stores, *CALLS, owner="much")
    await spend(stores, a_call(), owner="also little")
    today = datetime.now(UTC).date()
    around = today - timedelta(days=1), today + timedelta(days=1)

    rows = await stores.usage.by_owner(*around, owner=None, limit=2)
    (one,) = await stores.usage.by_owner(*around, owner="little", limit=2)

    assert [(row.owner, row.spent.calls) for row in rows] == [("much", 3), ("also little", 1)]
    assert one.spent == Spent.of(a_call())


async def test_other_days_do_not_count(stores: Stores) -> None:
    await spend(stores, *CALLS)

    past = await stores.usage.by_day(date(2020, 1, 1), date(2020, 12, 31), owner=None)

    assert past == []


async def test_an_ending_that_comes_twice_is_entered_once(stores: Stores) -> None:
    turn = new_turn()
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    whole = replace(ending(turn), calls=CALLS)

    assert await stores.sessions.finish(whole)
    assert not await stores.sessions.finish(whole)

    assert sum(row.spent.calls for row in await days(stores)) == 3


async def test_the_sums_outlive_the_session(stores: Stores) -> None:
    await spend(stores, *CALLS)
    await stores.sessions.delete(OWNER, "s1")

    assert sum(row.spent.calls for row in await days(stores)) == 3


async def test_a_summary_enters_its_calls_with_its_purpose(stores: Stores) -> None:
    await spend(stores, a_call())
    idle = await stores.summaries.claim(idle_seconds=0, claim_seconds=60, history_tokens=EVERYTHING)
    assert idle
    await stores.summaries.store(idle, "Summed up.", calls=[a_call(purpose="summary")])

    rows = await days(stores)
    assert [(row.purpose, row.spent.calls) for row in rows] == [("summary", 1), ("turn", 1)]
    assert (await stores.sessions.get(OWNER, "s1")).spent.calls == 2


async def test_a_summary_that_failed_or_came_too_late_was_paid_all_the_same(
    stores: Stores,
) -> None:
    await spend(stores, a_call())
    idle = await stores.summaries.claim(idle_seconds=0, claim_seconds=60, history_tokens=EVERYTHING)
    assert idle
    call = a_call(purpose="summary")
    await stores.summaries.postpone(idle, seconds=0, failures=1, calls=[call])
    assert not await stores.summaries.store(idle, "Too late.", calls=[call])
    await stores.sessions.delete(OWNER, "s1")
    assert not await stores.summaries.store(idle, "Far too late.", calls=[call])

    (summaries, _) = await days(stores)
    assert summaries.spent.calls == 3
    with pytest.raises(SessionNotFound):
        await stores.sessions.get(OWNER, "s1")


async def test_many_endings_at_once_lose_nothing(stores: Stores) -> None:
    calls = [a_call(model, cost=7) for model in ("c", "a", "b")]
    await asyncio.gather(
        *(spend(stores, *calls[n % 3 :], *calls[: n % 3], session_id=f"s{n}") for n in range(30))
    )

    rows = await days(stores)
    assert [(row.model, row.spent.calls, row.spent.cost) for row in rows] == [
        (model, 30, 210) for model in ("a", "b", "c")
    ]


async def test_an_ending_without_calls_enters_nothing(stores: Stores) -> None:
    turn_id = await spend(stores)

    assert await days(stores) == []
    assert (await stores.sessions.turn(OWNER, turn_id)).calls == ()
    assert (await stores.sessions.get(OWNER, "s1")).spent == Spent()


async def test_a_turn_that_runs_has_no_calls_yet(stores: Stores) -> None:
    turn = new_turn()
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)

    assert tuple((await stores.sessions.turn(OWNER, turn.id)).calls) == ()
    await stores.sessions.finish(ending(turn, Message.assistant("Hi")))
