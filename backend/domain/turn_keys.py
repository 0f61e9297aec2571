"""How turns are identified: by the owner of their session and an id."""

import secrets
from hashlib import blake2b
from typing import NamedTuple

HASH_BYTES = 2
"""65,536 values: more than a database has shards, and few enough to tell nobody the owner."""

RANDOM_BYTES = 6


class TurnKey(NamedTuple):
    """Identifies a turn in the store. The owner comes first, so a sharded database finds it."""

    owner: str
    id: str


def new_turn_id(owner: str) -> str:
    """A new id of 16 hexadecimal digits.

    Its first four are a hash of the owner, so ids of one owner sort together in an index, and an id
    in a log or in Redis leads to the shard of its owner. The other twelve are random.
    """
    return owner_hash(owner) + secrets.token_hex(RANDOM_BYTES)


def owner_hash(owner: str) -> str:
    return blake2b(owner.encode(), digest_size=HASH_BYTES).hexdigest()
