"""Which budgets a query has, what is reserved for it, and how settings are read."""

import pytest
from starlette.requests import HTTPConnection

from backend.api.budgets.budgets import Budgets, TurnBudget
from backend.api.budgets.quotas import BudgetQuota, budgets
from backend.api.rate_limits.clients import NETWORK_CLIENTS, client_of
from backend.domain.conversation import ANONYMOUS, Caller
from backend.domain.errors import BudgetExhausted
from backend.domain.usage import PICO, ModelCall, Usage
from backend.storage.memory.budgets import MemoryBudgets
from backend.storage.ports.budgets import Budget

TYPICAL_TOKENS = 1500
KNOWN = Caller(owner="user:123", user_id="123")


def a_call(tokens: int, cost: int | None = 10) -> ModelCall:
    return ModelCall(model="m", purpose="turn", usage=Usage(tokens, 0), cost=cost)


class World:
    def __init__(self, *quotas: BudgetQuota, anonymous: str = "") -> None:
        self.store = MemoryBudgets()
        self.budgets = Budgets(
            self.store,
            quotas,
            anonymous=budgets("client_tokens", anonymous),
            expires_seconds=60,
            cost_of=lambda call: 999 if call.cost is None else call.cost,
            typical=a_call(TYPICAL_TOKENS, 5),
        )

    def of(
        self, caller: Caller = KNOWN, *, host: str = "192.0.2.1", session: str = "s1"
    ) -> TurnBudget:
        connection = HTTPConnection({"type": "http", "client": (host, 1234)})
        client = client_of(caller, connection)
        return self.budgets.of(caller, connection, client=client, session=session)

    async def is_open(self, turn_id: str, caller: Caller = KNOWN, **of: str) -> bool:
        try:
            await self.of(caller, **of).reserve(turn_id)
        except BudgetExhausted:
            return False
        return True

    async def used(self, key: str, seconds: int = 86_400) -> int:
        (used,) = await self.store.used([Budget(key, 1, seconds)])
        return used


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("100000/day", [(100_000, 86_400)]),
        ("100 / 5 minutes; 7/hour", [(100, 300), (7, 3600)]),
    ],
)
def test_budgets_of_tokens_are_read(text: str, expected: list[tuple[int, int]]) -> None:
    assert [(one.limit, one.seconds) for one in budgets("client_tokens", text)] == expected


def test_budgets_of_cost_are_exact() -> None:
    (budget,) = budgets("client_cost", "2.50/day")

    assert budget.limit == 2.5 * PICO


async def test_a_typical_completion_is_reserved_first_and_then_what_they_take() -> None:
    world = World(*budgets("client_tokens", f"{TYPICAL_TOKENS * 2}/day"))
    assert await world.is_open("t1")
    assert await world.is_open("t2")
    assert not await world.is_open("t3")

    other = World(*budgets("client_tokens", "100000/day"))
    for number in range(60):
        turn = other.of()
        await turn.reserve(f"t{number}")
        await turn.settle(f"t{number}", [a_call(30), a_call(10)])

    assert other.budgets._estimate("client_tokens") == pytest.approx(20, rel=0.01)
    assert other.budgets._estimate("client_cost") == pytest.approx(10, rel=0.01)


async def test_all_calls_of_a_turn_are_settled_once() -> None:
    world = World(*budgets("session_tokens", "100000/day"))
    turn = world.of()
    await turn.reserve("t1")

    await turn.settle("t1", [a_call(100), a_call(20)])
    await turn.settle("t1", [a_call(100), a_call(20)])

    assert await world.used("session_tokens:86400:s1") == 120


async def test_a_turn_that_was_refused_settles_nothing() -> None:
    world = World(*budgets("session_tokens", "1/day"))
    first, second = world.of(), world.of()
    await first.reserve("t1")
    with pytest.raises(BudgetExhausted) as refused:
        await second.reserve("t2")
    await second.settle("t2", [a_call(100)])

    assert await world.used("session_tokens:86400:s1") == 0
    assert refused.value.retry_after is not None
    assert 0 < refused.value.retry_after <= 86_400
    assert "session" in str(refused.value)


async def test_a_model_without_a_price_is_not_free() -> None:
    world = World(*budgets("client_cost", "1/day"))
    turn = world.of()
    await turn.reserve("t1")
    await turn.settle("t1", [a_call(100, cost=None), a_call(100, cost=7)])

    connection = HTTPConnection({"type": "http", "client": ("192.0.2.1", 1)})
    assert await world.used(f"client_cost:86400:{client_of(KNOWN, connection).key}") == 1006


async def test_each_client_and_each_session_has_its_own() -> None:
    world = World(
        *budgets("session_tokens", "1/day"),
        *budgets("client_tokens", f"{TYPICAL_TOKENS + 1}/day"),
    )
    other = Caller(owner="user:456", user_id="456")

    assert await world.is_open("t1", session="s1")
    assert not await world.is_open("t2", session="s1")
    assert await world.is_open("t3", session="s2")
    assert not await world.is_open("t4", session="s3")
    assert await world.is_open("t5", other, session="s4")


async def test_a_network_has_the_budget_of_some_clients() -> None:
    world = World(*budgets("client_tokens", "1/day"))

    granted = [
        await world.is_open(f"t{n}", ANONYMOUS, host=f"2001:db8:1:{n}::1") for n in range(99)
    ]

    assert sum(granted) == 1, "a typical completion is more than the budget of the network"
    assert NETWORK_CLIENTS < TYPICAL_TOKENS


@pytest.mark.parametrize(
    ("caller", "host", "has_budget"),
    [
        (ANONYMOUS, "192.0.2.1", True),
        (ANONYMOUS, "2001:db8::1", True),
        (ANONYMOUS, "127.0.0.1", False),
        (ANONYMOUS, "::1", False),
        (ANONYMOUS, "", False),
        (KNOWN, "192.0.2.1", False),
    ],
)
async def test_only_anonymous_callers_of_other_machines_have_a_budget_by_default(
    caller: Caller, host: str, has_budget: bool
) -> None:
    world = World(anonymous="1/day")
    await world.is_open("t1", caller, host=host)

    assert await world.is_open("t2", caller, host=host) is not has_budget
