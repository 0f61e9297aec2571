"""Budgets: reserved before a turn, settled after it, in fixed windows."""

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.storage.memory.budgets import MemoryBudgets
from backend.storage.ports.budgets import Amount, Budget, BudgetStore
from backend.storage.ports.stores import Stores
from tests.fakes import Clock

DAY = 86_400
TOKENS = Budget("tokens:me", 100, DAY)
COST = Budget("cost:me", 1000, DAY)


@pytest.fixture
def budgets(stores: Stores) -> BudgetStore:
    return stores.budgets


async def reserved(
    budgets: BudgetStore, turn_id: str, *amounts: Amount, expires: float = 60
) -> bool:
    return not await budgets.reserve(turn_id, amounts, expires_seconds=expires)


async def test_a_budget_is_open_until_nothing_is_left(budgets: BudgetStore) -> None:
    ten = Amount(TOKENS, 10)

    granted = [await reserved(budgets, f"t{n}", ten) for n in range(12)]

    assert granted == [True] * 10 + [False] * 2


async def test_a_refusal_names_the_budget_and_the_time_to_its_next_window(
    budgets: BudgetStore,
) -> None:
    await budgets.settle("t0", [Amount(TOKENS, 100), Amount(COST, 5)])

    (full,) = await budgets.reserve("t1", [Amount(COST, 1), Amount(TOKENS, 1)], expires_seconds=60)

    assert full.budget == TOKENS
    assert 0 < full.seconds <= DAY


async def test_all_are_reserved_or_none(budgets: BudgetStore) -> None:
    await budgets.settle("t0", [Amount(TOKENS, 100)])

    for number in range(200):
        assert not await reserved(budgets, f"t{number}", Amount(COST, 10), Amount(TOKENS, 10))

    assert await reserved(budgets, "other", Amount(COST, 10))


async def test_what_was_really_used_takes_the_place_of_the_reservation(
    budgets: BudgetStore,
) -> None:
    await reserved(budgets, "t0", Amount(TOKENS, 100))
    assert not await reserved(budgets, "t1", Amount(TOKENS, 1))

    await budgets.settle("t0", [Amount(TOKENS, 30)])

    assert await budgets.used([TOKENS, COST]) == [30, 0]
    assert await reserved(budgets, "t2", Amount(TOKENS, 70))
    assert not await reserved(budgets, "t3", Amount(TOKENS, 1))


async def test_a_turn_may_use_more_than_is_left(budgets: BudgetStore) -> None:
    await reserved(budgets, "t0", Amount(TOKENS, 10))
    await budgets.settle("t0", [Amount(TOKENS, 250)])

    assert await budgets.used([TOKENS]) == [250]
    assert not await reserved(budgets, "t1", Amount(TOKENS, 1))


async def test_a_turn_that_never_was_gives_everything_back(budgets: BudgetStore) -> None:
    await reserved(budgets, "t0", Amount(TOKENS, 100))
    await budgets.settle("t0", [Amount(TOKENS, 0)])

    assert await reserved(budgets, "t1", Amount(TOKENS, 100))


async def test_the_reservation_of_a_killed_worker_expires(budgets: BudgetStore) -> None:
    assert await reserved(budgets, "killed", Amount(TOKENS, 100), expires=0.3)
    assert not await reserved(budgets, "t1", Amount(TOKENS, 1))

    await asyncio.sleep(0.4)

    assert await reserved(budgets, "t1", Amount(TOKENS, 1))


async def test_a_new_window_is_a_new_budget(budgets: BudgetStore) -> None:
    brief = Budget("brief", 10, 1)
    await budgets.settle("t0", [Amount(brief, 10)])
    full = await budgets.reserve("t1", [Amount(brief, 1)], expires_seconds=0.1)
    # The window may have ended between the two calls.
    await asyncio.sleep(full[0].seconds + 0.05 if full else 1.0)
    await budgets.purge()

    assert await budgets.used([brief]) == [0]
    assert await reserved(budgets, "t2", Amount(brief, 1))


async def test_what_is_over_is_deleted_and_what_counts_stays(budgets: BudgetStore) -> None:
    await budgets.settle("t0", [Amount(TOKENS, 40)])
    await reserved(budgets, "t1", Amount(TOKENS, 60))

    await budgets.purge()

    assert await budgets.used([TOKENS]) == [40]
    assert not await reserved(budgets, "t2", Amount(TOKENS, 1))


async def test_of_two_hundred_at_once_as_many_are_granted_as_there_are_tokens(
    budgets: BudgetStore,
) -> None:
    ten = [Amount(TOKENS, 10), Amount(COST, 1)]

    granted = await asyncio.gather(
        *(reserved(budgets, f"t{n}", *ten[:: 1 if n % 2 else -1]) for n in range(200))
    )

    assert sum(granted) == 10


steps = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "pass", "purge"]),
        st.integers(0, 5),
        st.integers(0, 60),
    ),
    max_size=40,
)


@given(steps)
def test_in_any_order_exactly_what_was_settled_is_used(
    steps: Sequence[tuple[str, int, int]],
) -> None:
    asyncio.run(_check_any_order(steps))


async def _check_any_order(steps: Sequence[tuple[str, int, int]]) -> None:
    clock = Clock()
    clock.now = 0.0
    budgets = MemoryBudgets(clock)
    settled, held = 0, dict[str, tuple[int, float]]()
    for step, turn, number in steps:
        turn_id = str(turn)
        match step:
            case "reserve":
                left = TOKENS.limit - settled - sum(n for n, end in held.values() if end > clock())
                is_reserved = await reserved(budgets, turn_id, Amount(TOKENS, number), expires=50)
                assert is_reserved == (left > 0)
                if is_reserved:
                    held[turn_id] = number, clock() + 50
            case "settle":
                await budgets.settle(turn_id, [Amount(TOKENS, number)])
                settled += number
                held.pop(turn_id, None)
            case "pass":
                clock.sleep(number)
            case "purge":
                await budgets.purge()
    assert await budgets.used([TOKENS]) == [settled]
