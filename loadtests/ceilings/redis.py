"""Where one Redis ends: its CPU for each turn, batch of events, and exchange of rates.

Only the CPU of Redis counts, so a busy machine changes the figures little.
"""

import asyncio
import statistics
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path

from redis.asyncio import Redis

from backend.api.budgets.shared import SharedBudgets
from backend.api.rate_limits.redis_pipeline import RedisPipeline, open_connection
from backend.api.rate_limits.shared import SharedLimits
from backend.api.rate_limits.stream_slots import LocalSlots, SharedSlots
from backend.api.rate_limits.windows import Window, quotas
from backend.domain.rates import RateReport
from backend.storage.memory.budgets import MemoryBudgets
from backend.storage.ports.budgets import Amount, Budget
from backend.storage.ports.shared_logs import SharedBatch
from backend.storage.redis.logs import RedisLogs
from backend.storage.redis.rates import RedisRates
from tests.redis_server import running_redis

ROUNDS = 10
AT_ONCE = 100
CLIENTS = 1000
NOBODY_IS_REFUSED = 10**9

_numbers = count(1)


class Admitted:
    """The requests to Redis for the admission and the end of a turn."""

    def __init__(self, pipeline: RedisPipeline, *, has_budget: bool) -> None:
        self._limits = SharedLimits(pipeline)
        local = LocalSlots(most=NOBODY_IS_REFUSED)
        self._slots = SharedSlots(local, pipeline, most=NOBODY_IS_REFUSED)
        self._budgets = SharedBudgets(pipeline, MemoryBudgets())
        self._has_budget = has_budget
        self._of_session = quotas("session", "20/minute;300/day")
        self._of_client = quotas("client", "120/minute;2000/day")

    async def turns(self) -> None:
        await asyncio.gather(*(self._turn(next(_numbers)) for _ in range(AT_ONCE)))

    async def _turn(self, number: int) -> None:
        client, turn = f"client-{number % CLIENTS}", f"turn-{number}"
        budget = Budget(f"client_tokens:86400:{client}", NOBODY_IS_REFUSED, 86_400)
        await self._slots.take(client, turn)
        if self._has_budget:
            await self._budgets.reserve(turn, [Amount(budget, 2000)], expires_seconds=180)
        windows = [Window(quota, turn) for quota in self._of_session]
        await self._limits.charge([*windows, *(Window(quota, client) for quota in self._of_client)])
        if self._has_budget:
            await self._budgets.settle(turn, [Amount(budget, 2000)])
        self._slots.release(client, turn)


async def batches(logs: RedisLogs) -> None:
    """Each turn writes a batch, and one worker reads all of them."""
    last = next(_numbers) * 10
    turns = [f"turn-{number}" for number in range(AT_ONCE)]
    await logs.write([SharedBatch(turn, last - 10, last, b"x" * 500) for turn in turns])
    await logs.read("reader", dict.fromkeys(turns, last - 10))


async def exchanges(rates: RedisRates, workers: int) -> None:
    """Each worker reports once on one model."""
    report = RateReport(
        model="openai/gpt-oss-120b",
        spacing_seconds=0.02,
        figures=[],
        joined=[],
        left=[],
        waiting=0,
        answered=0,
        refused_seconds=0,
        is_blocked=False,
    )
    for number in range(workers):
        await rates.exchange(f"host-0123456789ab-{number}", [report])


@asynccontextmanager
async def work(url: str) -> AsyncIterator[dict[str, tuple[int, Callable[[], Awaitable[None]]]]]:
    """The work to measure, and how often one call does it."""
    async with AsyncExitStack() as stack:
        connection = open_connection(url)
        stack.push_async_callback(connection.aclose)
        pipeline = RedisPipeline(connection, on_change=lambda _: None, answer_seconds=10)
        await pipeline.open()
        stack.push_async_callback(pipeline.close)
        logs, rates = RedisLogs(url, kept_seconds=240), RedisRates(url, gone_seconds=3600)
        stack.push_async_callback(logs.close)
        stack.push_async_callback(rates.close)
        yield {
            "a turn's slot and limits": (AT_ONCE, Admitted(pipeline, has_budget=False).turns),
            "the same with a budget": (AT_ONCE, Admitted(pipeline, has_budget=True).turns),
            "a batch of events, written and read": (AT_ONCE, lambda: batches(logs)),
            "an exchange of rates, 20 workers": (20, lambda: exchanges(rates, 20)),
            "an exchange of rates, 200 workers": (200, lambda: exchanges(rates, 200)),
        }


async def measure() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with running_redis(Path(folder)) as server, work(server.url) as measured:
            print("| work | CPU of Redis, µs | a second on a core |")
            print("|---|--:|--:|")
            async with Redis.from_url(server.url) as looking:
                for name, (times, call) in measured.items():
                    await call()  # fills caches
                    took = [await cost(looking, call, times) for _ in range(ROUNDS)]
                    middle = statistics.median(took)
                    spread = f"{middle:.0f} ({min(took):.0f} … {max(took):.0f})"
                    print(f"| {name} | {spread} | {1e6 / middle:,.0f} |")


async def cost(looking: Redis, call: Callable[[], Awaitable[None]], times: int) -> float:
    """The CPU time of Redis for one piece of work, in microseconds."""
    before = await cpu_seconds(looking)
    for _ in range(max(1, 1000 // times)):
        await call()
    done = max(1, 1000 // times) * times
    return 1e6 * (await cpu_seconds(looking) - before) / done


async def cpu_seconds(looking: Redis) -> float:
    told = await looking.info("cpu")
    return float(told["used_cpu_user"]) + float(told["used_cpu_sys"])
