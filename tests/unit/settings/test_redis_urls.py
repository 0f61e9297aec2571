"""Forms of REDIS_URL, and the reasons why others are refused."""

import pytest

from backend.settings.redis_urls import unusable_redis


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://host",
        "redis://user:pa%40ss@host:6379/1?ssl_ca_certs=/ca.pem",
        "rediss://[::1]:6379/0",
        "unix:///run/redis.sock?db=1",
        "valkey://host:6379/1",
        "valkeys://host",
        "redis+cluster://host",
        "redis+cluster://host:6379/0",
        "rediss+cluster://user:pass@one:7000,two:7001,[fe80::1]:7002?ssl_ca_certs=/ca.pem",
        "valkey+cluster://one,two",
        "redis+sentinel://one:26379,two:26379,three:26379/mymaster",
        "redis+sentinel://:pass@one/my-master.1/2?sentinel_password=other",
        "valkeys+sentinel://one/mymaster",
    ],
)
def test_one_server_a_cluster_and_sentinels_can_be_named(url: str) -> None:
    assert unusable_redis(url) is None


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("host:6379", "it must be a URL like"),
        ("redis+cluster://", "it must be a URL like"),
        ("redis+cluster://one:99999", "it must be a URL like"),
        ("redis+cluster://one,two:0", "it must be a URL like"),
        ("redis-cluster://one", "it must be a URL like"),
        ("unix+cluster:///run/redis.sock", "it must be a URL like"),
        ("redis+sentinel://one/my/master", "it must be a URL like"),
        ("redis://one:6379,two:6379/0", "several hosts need"),
        ("redis+cluster://one,two/1", "a cluster has no numbered databases"),
        ("redis+cluster://one,two?db=2", "a cluster has no numbered databases"),
        ("redis+sentinel://one,two", "the name of the master is missing"),
        ("redis+sentinel://one,two/", "the name of the master is missing"),
        ("redis+sentinel://one,two/0", "the name of the master is missing"),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(url: str, reason: str) -> None:
    told = unusable_redis(url)

    assert told is not None
    assert told.startswith(reason)
