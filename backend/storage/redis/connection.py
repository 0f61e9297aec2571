"""Opens connections to whatever `REDIS_URL` names."""

from collections.abc import Callable
from typing import Any, assert_never

from backend.storage.redis.address import OfCluster, OfSentinels, OneServer, address_of
from backend.storage.redis.cluster import Cluster
from backend.storage.redis.node import Node, RedisConnection
from backend.storage.redis.sentinel import node_of
from backend.storage.redis.slots import SlotMap

OpenConnection = Callable[..., RedisConnection]
"""Its keyword arguments are redis-py's options. Its connections open on first use."""


CLUSTER_DESCRIPTORS = 32
"""The connections to a cluster that a worker may have: three to each of eight masters, and one for
each slot of event logs."""


def more_descriptors(url: str) -> int:
    """The descriptors that this Redis takes, beyond those of one server."""
    return CLUSTER_DESCRIPTORS if isinstance(address_of(url), OfCluster) else 0


def opener(url: str, **options: Any) -> OpenConnection:
    """Return a function that opens connections. In a cluster, all share what is known of it.

    Options in the URL win. The caller closes each connection.
    """
    match address_of(url):
        case OneServer() as server:
            return lambda **more: Node.at(server.url, **{**options, **more})
        case OfSentinels() as sentinels:
            return lambda **more: node_of(sentinels, **{**options, **more})
        case OfCluster() as cluster:
            slots = SlotMap(cluster)
            return lambda **more: Cluster(slots, **{**options, **more})
        case never:
            assert_never(never)
