"""A Redis that is there and cannot be used: the cause is told, and nothing flaps."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from backend.api.budgets import shared as shared_budgets
from backend.api.rate_limits import shared, stream_slots
from backend.api.rate_limits.redis_pipeline import (
    OutOfReach,
    RedisPipeline,
    Script,
    connect,
    open_connection,
)
from backend.domain.errors import StorageError
from backend.storage.redis.errors import CLUSTER
from backend.storage.redis.logs import RedisLogs
from backend.storage.redis.rates import RedisRates
from infrastructure.ports import free_port
from tests.certificates import DAY, Authority, Signed, self_signed
from tests.listening import listening
from tests.redis_server import RedisServer, running_redis
from tests.serving import Lex, lex
from tests.waiting import waiting

README = (Path(__file__).parents[2] / "deploy" / "README.md").read_text()

PROBES = (*shared.PROBES, *stream_slots.PROBES, *shared_budgets.PROBES)


def documented_rule() -> list[str]:
    found = re.search(r"ACL SETUSER lex on >… (.+)", README)
    assert found
    return found[1].split()


RULE = documented_rule()
COMMANDS = [right for right in RULE if right.startswith("+")]


@asynccontextmanager
async def with_user(redis: RedisServer, *rights: str) -> AsyncIterator[str]:
    """The URL for a user with only these rights, and for another database number."""
    admin: Any = connect(redis.url)
    async with admin:
        await admin.execute_command("ACL", "SETUSER", "lex", "reset", "on", ">secret", *rights)
    yield redis.url.replace("redis://", "redis://lex:secret@").replace("/0", "/1")


async def faults_at(url: str) -> set[str]:
    """The causes that the rate limits' pipeline, the shared logs and the shared rates report."""
    client, logs, rates = open_connection(url), RedisLogs(url, kept_seconds=60), RedisRates(url)
    pipeline = RedisPipeline(client, on_change=lambda _: None, probes=PROBES, probe_seconds=60)
    await pipeline.open()
    told = {pipeline.fault} if pipeline.fault else set()
    for check in (logs.check, rates.check):
        try:
            await check()
        except StorageError as error:
            told.add(str(error))
    await pipeline.close()
    await client.aclose()
    await logs.close()
    await rates.close()
    return told


async def readiness_of(service: Lex, *, redis: str) -> dict[str, Any]:
    """The readiness, once `redis` has this state; `down` must have a reason."""
    async with waiting():
        while True:
            ready: dict[str, Any] = (await service.client.get("/readyz")).json()
            if ready["redis"] == redis and (redis == "up" or "redis_reason" in ready):
                return ready
            await asyncio.sleep(0.05)


async def test_the_documented_rule_suffices_for_all_that_is_asked(redis: RedisServer) -> None:
    async with (
        with_user(redis, *RULE) as url,
        lex(redis_url=url) as service,
    ):
        await readiness_of(service, redis="up")
        body = {"query": "Hello", "session_id": "s1", "resume": True}
        answer = await service.client.post("/query", json=body)
        deleted = await service.client.delete("/sessions/s1")
        ready = await readiness_of(service, redis="up")

    assert (answer.status_code, deleted.status_code) == (200, 204)
    assert "redis_reason" not in ready


@pytest.mark.parametrize("missing", COMMANDS)
async def test_a_command_that_is_not_allowed_is_named(redis: RedisServer, missing: str) -> None:
    rights = [right for right in RULE if right != missing]
    async with with_user(redis, *rights) as url:
        told = await faults_at(url)

    assert told == {f"no permission for the command {missing[1:]}"}


@pytest.mark.parametrize("keys", ["other:*", "lex:streams:*", "lex:turn:*"])
async def test_keys_that_are_not_allowed_are_named(redis: RedisServer, keys: str) -> None:
    async with with_user(redis, *COMMANDS, f"~{keys}") as url:
        told = await faults_at(url)

    assert told == {"no permission for the keys lex:*"}


KEYS = [
    *(
        "lex:limits:*",
        "lex:{budgets}:*",
        "lex:rate:*",
        "lex:turn:*",
        "lex:worker:*",
        "lex:streams:*",
        "lex:sockets:*",
        "lex:readers:*",
    ),
    *("lex:streams-of-networks:*", "lex:sockets-of-networks:*", "lex:readers-of-networks:*"),
]


async def test_a_rule_that_names_each_prefix_suffices(redis: RedisServer) -> None:
    async with with_user(redis, *COMMANDS, *(f"~{key}" for key in KEYS)) as url:
        told = await faults_at(url)

    assert told == set()


@pytest.mark.parametrize("missing", KEYS)
async def test_a_prefix_that_is_not_allowed_is_noticed(redis: RedisServer, missing: str) -> None:
    allowed = [f"~{key}" for key in KEYS if key != missing]
    async with with_user(redis, *COMMANDS, *allowed) as url:
        told = await faults_at(url)

    assert told == {"no permission for the keys lex:*"}


@pytest.mark.parametrize("missing", ["+zadd", "+xadd"])
async def test_what_works_in_part_is_down_and_stays_down_until_it_works(
    redis: RedisServer, missing: str
) -> None:
    rights = [right for right in RULE if right != missing]
    with capture_logs() as lines:
        async with with_user(redis, *rights) as url, lex(redis_url=url) as service:
            ready = await readiness_of(service, redis="down")
            for number in range(5):
                await service.ask("Hello", f"s{number}")
                await asyncio.sleep(0.3)
            still = await readiness_of(service, redis="down")
            # To change a user closes connections, which may be logged once more.
            told = [line for line in lines if line["event"].endswith(("_unavailable", "_down"))]
            async with with_user(redis, *RULE):
                mended = await readiness_of(service, redis="up")

    reason = f"no permission for the command {missing[1:]}"
    assert ready["redis_reason"] == still["redis_reason"] == reason
    assert "redis_reason" not in mended
    assert {line["error"] for line in told} == {reason}
    assert len({line["event"] for line in told}) == len(told)


async def test_a_wrong_password_a_missing_one_and_a_strange_user_are_told(
    redis: RedisServer,
) -> None:
    async with with_user(redis, *RULE) as url, connect(redis.url) as admin:
        wrong = await faults_at(url.replace("secret", "other"))
        strange = await faults_at(url.replace("lex:", "nobody:"))
        await admin.config_set("requirepass", "secret")
        missing = await faults_at(redis.url)

    assert wrong == strange == {"wrong user name or password"}
    assert missing == {"a password is needed"}


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (("CONFIG", "SET", "maxmemory", "1"), "its memory is full"),
        (("REPLICAOF", "127.0.0.1", "1"), "a replica, which takes no writes"),
        (("CONFIG", "SET", "min-replicas-to-write", "1"), "too few replicas to accept writes"),
    ],
)
async def test_a_redis_that_takes_no_writes_says_why(
    redis: RedisServer, fault: tuple[str, ...], told: str
) -> None:
    admin: Any = connect(redis.url)
    async with admin:
        await admin.execute_command(*fault)

    assert await faults_at(redis.url) == {told}


async def test_a_database_that_is_not_there_is_told(redis: RedisServer) -> None:
    assert await faults_at(redis.url.replace("/0", "/99")) == {"no database with this number"}


@pytest.mark.parametrize("number", [0, 1])
async def test_a_node_of_a_cluster_is_told(tmp_path: Path, number: int) -> None:
    # By default the bus uses a port 10,000 higher, which may not exist.
    bus = str(free_port())
    async with running_redis(tmp_path, cluster_enabled="yes", cluster_port=bus) as node:
        told = await faults_at(node.url.replace("/0", f"/{number}"))

    assert told == {CLUSTER}


@pytest.mark.parametrize(
    ("signed", "told"),
    [
        (Authority().sign(), "certificate of an unknown authority"),
        (Authority().sign(begins_in=-3 * DAY), "certificate expired"),
        (self_signed(), "certificate self-signed"),
    ],
    ids=["unknown", "expired", "self-signed"],
)
async def test_a_certificate_that_is_not_trusted_is_told(
    signed: Signed, told: str, tmp_path: Path
) -> None:
    async def nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(nothing, tls=signed.served(tmp_path)) as port:
        faults = await faults_at(f"rediss://127.0.0.1:{port}/0")

    assert faults <= {told, "certificate of an unknown authority"}
    assert faults


async def test_a_key_of_somebody_else_refuses_its_caller_and_nobody_else(
    redis: RedisServer,
) -> None:
    changes: list[bool] = []
    async with connect(redis.url) as client:
        await client.set("lex:streams:taken", "text")
        pipeline = RedisPipeline(client, on_change=changes.append, probes=PROBES)
        await pipeline.open()
        poisoned = Script("return redis.call('ZCARD', KEYS[1])", ["lex:streams:taken"], [])
        calls = [pipeline.call(poisoned), pipeline.call(Script("return 1", [], []))]
        refused, answered = await asyncio.gather(*calls, return_exceptions=True)
        await pipeline.close()

    assert isinstance(refused, OutOfReach)
    assert str(refused) == "another program has written to a key of Lex"
    assert (answered, changes) == (1, [True])
