"""The faults of the drill, each at two strengths.

The party of a fault is known, so the drill can tell whether the dashboards point at it.
"""

import asyncio
import json
import secrets
import signal
import socket
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass
from typing import Any

from loadtests.drill.customers import ANSWER, Customers, asking
from loadtests.drill.stage import MODELS, Stage

Happens = Callable[[Stage, Customers], AbstractAsyncContextManager[None]]


@dataclass(frozen=True)
class Fault:
    name: str
    strengths: Mapping[str, Happens]
    """By description. The block of each is the time of the fault."""


def upstream(*pushed: dict[str, Any]) -> Happens:
    """The upstream answers all requests like this; each script may name its `model`."""

    @asynccontextmanager
    async def happens(stage: Stage, _customers: Customers) -> AsyncIterator[None]:
        for each in pushed:
            stage.standin.script(each["round"], times=None, model=each.get("model"))
        try:
            yield
        finally:
            stage.standin.forget_scripts()

    return happens


def answers(**changed: object) -> Happens:
    return upstream({"round": {**ANSWER, **changed}})


def fails(kind: Mapping[str, object], *models: str) -> Happens:
    failing = {**ANSWER, "fault": {**kind, "times": 10**9}}
    return upstream(*({"round": failing, "model": model} for model in models or MODELS))


def busy(retry_after: int) -> Happens:
    return fails({"kind": "status", "status": 429, "headers": {"retry-after": str(retry_after)}})


def weather(**changed: float | bool) -> Happens:
    @asynccontextmanager
    async def happens(stage: Stage, _customers: Customers) -> AsyncIterator[None]:
        before = {name: getattr(stage.weather, name) for name in changed}
        for name, value in changed.items():
            setattr(stage.weather, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(stage.weather, name, value)

    return happens


def repeatedly(do: Callable[[Stage], Any], *, pause_seconds: float) -> Happens:
    """Something happens again and again, with a pause in between."""

    @asynccontextmanager
    async def happens(stage: Stage, _customers: Customers) -> AsyncIterator[None]:
        async def again() -> None:
            while True:
                await do(stage)
                await asyncio.sleep(pause_seconds)

        repeating = asyncio.create_task(again())
        try:
            yield
        finally:
            repeating.cancel()
            await asyncio.gather(repeating, return_exceptions=True)

    return happens


def store_locked(*, locked_seconds: float, pause_seconds: float) -> Happens:
    async def lock(stage: Stage) -> None:
        with closing(sqlite3.connect(stage.store, isolation_level=None, timeout=5)) as other:
            other.execute("BEGIN EXCLUSIVE")
            await asyncio.sleep(locked_seconds)

    return repeatedly(lock, pause_seconds=pause_seconds)


def loop_blocked(*, blocked_seconds: float, pause_seconds: float) -> Happens:
    async def block(stage: Stage) -> None:
        stage.service.send(signal.SIGSTOP)
        try:
            await asyncio.sleep(blocked_seconds)
        finally:
            stage.service.send(signal.SIGCONT)

    return repeatedly(block, pause_seconds=pause_seconds)


@asynccontextmanager
async def redis_is_frozen(stage: Stage, _customers: Customers) -> AsyncIterator[None]:
    stage.redis.pause()
    try:
        yield
    finally:
        stage.redis.go_on()


@asynccontextmanager
async def redis_is_gone(stage: Stage, _customers: Customers) -> AsyncIterator[None]:
    await stage.redis.kill()
    yield


@asynccontextmanager
async def nobody_listens(stage: Stage, _customers: Customers) -> AsyncIterator[None]:
    await stage.standin.stop()
    try:
        yield
    finally:
        await stage.standin.start()


def clients_that_do_not_read(number: int) -> Happens:
    """So many clients ask for long answers and read nothing, each for eight seconds."""

    async def ask(stage: Stage) -> None:
        body = json.dumps({"query": "All of it?", "session_id": f"slow-{secrets.token_hex(4)}"})
        with socket.socket() as client:
            # Otherwise the kernel would take the whole answer for the client.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.setblocking(False)  # noqa: FBT003 - the form of the standard library
            loop = asyncio.get_running_loop()
            await loop.sock_connect(client, ("127.0.0.1", stage.service.port))
            head = "POST /query HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
            length = f"content-length: {len(body)}\r\n\r\n"
            await loop.sock_sendall(client, f"{head}{length}{body}".encode())
            await asyncio.sleep(8)  # longer than the server waits for a client

    @asynccontextmanager
    async def happens(stage: Stage, customers: Customers) -> AsyncIterator[None]:
        stage.standin.script(LONG, times=None, contains="All of it?")
        async with AsyncExitStack() as stack:
            stack.callback(stage.standin.forget_scripts)
            for _ in range(number):
                asking_again = repeatedly(ask, pause_seconds=0.1)
                await stack.enter_async_context(asking_again(stage, customers))
            yield

    return happens


def crowd(times: int) -> Happens:
    """So many times more customers come, all from one address."""

    @asynccontextmanager
    async def happens(stage: Stage, customers: Customers) -> AsyncIterator[None]:
        more = Customers(stage, number=customers.number * times, thinking_seconds=0.5)
        async with asking(more):
            yield

    return happens


def impatient(share: float) -> Happens:
    """The upstream is slow to begin, and this share of customers does not wait for it."""
    slow = answers(first_token_after=6)

    @asynccontextmanager
    async def happens(stage: Stage, customers: Customers) -> AsyncIterator[None]:
        customers.impatient_share = share
        async with slow(stage, customers):
            yield
        customers.impatient_share = 0.0

    return happens


LONG = {"text": "x" * 1_000_000, "characters_per_token": 25_000, "tokens_per_second": 5}
UNAVAILABLE = {"kind": "status", "status": 503}

FAULTS = (
    Fault(
        "The first token is late",
        {"2.5 s": answers(first_token_after=2.5), "8 s": answers(first_token_after=8)},
    ),
    Fault(
        "Tokens are slow",
        {
            "8 a second": answers(tokens=30, tokens_per_second=8),
            "3 a second": answers(tokens=30, tokens_per_second=3),
        },
    ),
    Fault("A tool is slow", {"3 s": weather(delay_seconds=1.5), "8 s": weather(delay_seconds=4)}),
    Fault(
        "The weather service fails",
        {"half of its answers": weather(broken_share=0.5), "dead": weather(is_dead=True)},
    ),
    Fault(
        "The store is locked",
        {
            "1 s of every 2 s": store_locked(locked_seconds=1, pause_seconds=1),
            "for good": store_locked(locked_seconds=3600, pause_seconds=0),
        },
    ),
    Fault("Redis stops", {"frozen": redis_is_frozen, "gone": redis_is_gone}),
    Fault(
        "Clients do not read",
        {"8 clients": clients_that_do_not_read(8), "30 clients": clients_that_do_not_read(30)},
    ),
    Fault(
        "The first model fails",
        {
            "429 with retry-after: 2": fails(
                {"kind": "status", "status": 429, "headers": {"retry-after": "2"}}, MODELS[0]
            ),
            "dead": fails(UNAVAILABLE, MODELS[0]),
        },
    ),
    Fault("No model answers", {"503": fails(UNAVAILABLE), "nobody listens": nobody_listens}),
    Fault(
        "All models are busy",
        {"429 with retry-after: 2": busy(2), "429 with retry-after: 20": busy(20)},
    ),
    Fault("Our limit refuses", {"three times the customers": crowd(3), "ten times": crowd(10)}),
    Fault(
        "The event loop is blocked",
        {
            "0.6 s of every 2 s": loop_blocked(blocked_seconds=0.6, pause_seconds=1.4),
            "3 s of every 4 s": loop_blocked(blocked_seconds=3, pause_seconds=1),
        },
    ),
    Fault("Customers give up", {"a third of them": impatient(0.33), "all": impatient(1.0)}),
)
