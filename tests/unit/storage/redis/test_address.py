"""Reading REDIS_URL: the places, and the options of redis-py."""

import pytest
from redis.asyncio import SSLConnection

from backend.storage.redis.address import OfCluster, OfSentinels, OneServer, Place, address_of


@pytest.mark.parametrize(
    ("url", "server"),
    [
        ("redis://:p@host:1/2", "redis://:p@host:1/2"),
        ("valkey://host", "redis://host"),
        ("valkeys://valkey.example", "rediss://valkey.example"),
        ("unix:///run/valkey.sock", "unix:///run/valkey.sock"),
    ],
)
def test_valkey_is_another_name_for_redis(url: str, server: str) -> None:
    assert address_of(url) == OneServer(server)


def test_a_cluster_has_several_places_and_the_same_options_for_all() -> None:
    address = address_of("rediss+cluster://me:p%40ss@one:7000,two,[fe80::1]:7002?ssl_ca_certs=/ca")

    assert address == OfCluster(
        [Place("one", 7000), Place("two", 6379), Place("fe80::1", 7002)],
        {
            "username": "me",
            "password": "p@ss",
            "ssl_ca_certs": "/ca",
            "connection_class": SSLConnection,
        },
    )


def test_sentinels_have_a_password_of_their_own() -> None:
    url = "redis+sentinel://:p%2Fss@one,two:5/mymaster/3?sentinel_password=o%26r&health_check=1"

    assert address_of(url) == OfSentinels(
        [Place("one", 26_379), Place("two", 5)],
        "mymaster",
        {"password": "p/ss", "db": 3, "health_check": "1"},
        {"password": "o&r"},
    )


def test_sentinels_are_reached_with_tls_as_the_master_is() -> None:
    address = address_of("rediss+sentinel://one/mymaster?ssl_ca_certs=/ca&sentinel_username=me")

    assert isinstance(address, OfSentinels)
    assert address.sentinel_options == {
        "username": "me",
        "ssl_ca_certs": "/ca",
        "connection_class": SSLConnection,
    }
