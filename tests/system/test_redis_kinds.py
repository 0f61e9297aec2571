"""One server, a cluster and Sentinels behind `REDIS_URL`: what fits, and what is refused."""

import asyncio
import re
from pathlib import Path

from backend.storage.ports.shared_logs import SharedBatch
from backend.storage.redis.errors import CLUSTER, NO_CLUSTER, NO_MASTER, NO_SENTINEL, SENTINEL
from backend.storage.redis.logs import RedisLogs
from infrastructure.ports import free_port
from tests.certificates import Authority
from tests.processes import ended
from tests.redis_cluster import SLOTS, RedisCluster, Sentinels, ask
from tests.redis_server import RedisServer, running_redis
from tests.serving import lex
from tests.system.test_redis_faults import README, RULE, faults_at, readiness_of
from tests.system.test_shared_logs import batches
from tests.waiting import waiting


def documented_rights(pattern: str) -> list[str]:
    found = re.search(pattern, README)
    assert found
    return found[1].split()


IN_A_CLUSTER = [*RULE, *documented_rights(r"In a cluster it also needs `([^`]+)`")]
OF_SENTINELS = documented_rights(r"A user for\s+Sentinels needs `([^`]+)`")


async def test_a_server_of_another_kind_is_told(
    redis: RedisServer, steady_cluster: RedisCluster, sentinels: Sentinels
) -> None:
    server, sentinel = f"127.0.0.1:{redis.port}", f"127.0.0.1:{sentinels.sentinels[0].port}"
    told = {
        url: await faults_at(url)
        for url in (
            steady_cluster.nodes[0].url,
            f"redis+cluster://{server}",
            f"redis+sentinel://{server}/mymaster",
            f"redis://{sentinel}",
            f"redis+cluster://{sentinel}",
            f"redis+sentinel://{sentinel}/other",
        )
    }

    assert list(told.values()) == [
        {CLUSTER},
        {NO_CLUSTER},
        {NO_SENTINEL},
        {SENTINEL},
        {SENTINEL},
        {NO_MASTER},
    ]


async def test_a_start_with_a_url_for_another_kind_is_refused(
    steady_cluster: RedisCluster, tmp_path: Path
) -> None:
    stopped = await ended(
        *("-m", "uvicorn", "backend.main:app", "--port", str(free_port())),
        folder=tmp_path,
        REDIS_URL=steady_cluster.nodes[0].url,
        DATABASE_URL="memory://",
    )

    assert stopped.code != 0
    assert f"lex: REDIS_URL cannot be used: {CLUSTER}." in stopped.stderr


async def test_the_master_that_sentinels_name_serves_all(sentinels: Sentinels) -> None:
    batch = SharedBatch("t1", 0, 3, b"abc")
    await sentinels.forget()
    logs = RedisLogs(sentinels.url.replace("redis+", "valkey+"), kept_seconds=60)
    async with lex(redis_url=sentinels.url) as service:
        ready = await readiness_of(service, redis="up")
        await logs.write([batch])
        read = await batches(logs, {"t1": 0})
    await logs.close()

    assert "redis_reason" not in ready
    assert read == [batch]
    assert await faults_at(sentinels.url) == set()


async def test_passwords_of_sentinels_and_of_the_master_are_used(sentinels: Sentinels) -> None:
    right = sentinels.url.replace("://", "://lex:se%40cret@")
    right += "?sentinel_username=asker&sentinel_password=ot%26her"
    user = ("reset", "on", ">se@cret", *RULE)
    await ask(await sentinels.master(), "ACL", "SETUSER", "lex", *user)
    for each in sentinels.sentinels:
        asker = ("reset", "on", ">ot&her", *OF_SENTINELS)
        await ask(each, "ACL", "SETUSER", "asker", *asker)

    assert await faults_at(right) == set()
    for wrong in (right.replace("cret", "crets"), right.replace("her", "hers")):
        assert await faults_at(wrong) == {"wrong user name or password"}


async def test_the_documented_rule_suffices_in_a_cluster(steady_cluster: RedisCluster) -> None:
    await steady_cluster.forget()
    url = steady_cluster.url.replace("://", "://lex:secret@")
    for node in steady_cluster.nodes:
        await ask(node, "ACL", "SETUSER", "lex", "reset", "on", ">secret", *IN_A_CLUSTER)
    told = await faults_at(url)
    left = [await ask(node, "KEYS", "*") for node in steady_cluster.nodes]
    # The rights of one node are enough to fail.
    await ask(steady_cluster.nodes[1], "ACL", "SETUSER", "lex", "-asking")
    missing = await faults_at(url)
    for node in steady_cluster.nodes:
        await ask(node, "ACL", "SETUSER", "lex", "-cluster|slots")
    hidden = await faults_at(url)

    assert told == set()
    assert not any(b"check" in key or b"budgets" in key for keys in left for key in keys)
    assert missing == {"no permission for the command asking"}
    assert hidden == {"no permission for the command cluster|slots"}


async def test_a_cluster_of_one_node_is_reached_with_tls(tmp_path: Path) -> None:
    authority, port = Authority(), free_port()
    authority.sign().served(tmp_path)
    (tmp_path / "ca.pem").write_bytes(authority.pem)
    served = str(tmp_path / "served.pem")
    options = {"tls_cert_file": served, "tls_key_file": served, "tls_auth_clients": "no"}
    async with running_redis(
        tmp_path,
        cluster_enabled="yes",
        cluster_port=str(free_port()),
        tls_cluster="yes",
        tls_port=str(port),
        tls_ca_cert_file=str(tmp_path / "ca.pem"),
        **options,
    ) as node:
        await ask(node, "CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        async with waiting():
            while b"cluster_state:ok" not in await ask(node, "CLUSTER", "INFO"):
                await asyncio.sleep(0.02)
        url = f"rediss+cluster://127.0.0.1:{port}"
        trusted = await faults_at(f"{url}?ssl_ca_certs={tmp_path}/ca.pem")
        strange = await faults_at(url)

    assert trusted == set()
    assert strange == {"certificate chain self-signed"}


async def test_the_name_of_one_node_is_enough_if_others_are_gone(
    steady_cluster: RedisCluster,
) -> None:
    """`localhost` may have an address on which nothing listens, ::1."""
    replica = steady_cluster.nodes[-1].port

    told = await faults_at(f"redis+cluster://127.0.0.1:{free_port()},localhost:{replica}")

    assert told == set()
