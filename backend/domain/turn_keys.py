"""How turns are identified: by the owner of their session and an id."""

import secrets
from hashlib import blake2b
from typing import NamedTuple

HASH_BYTES = 2
"""65,536 values: more than a database has shards, and few enough to tell nobody the owner."""

RANDOM_BYTES = 6

_GIVEN = "given-"


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


def given_turn_id(number: int) -> str:
    """The id under which messages are stored that the caller sent as what was said before.

    It is unique within its session only, and no turn ran that has it.
    """
    return f"{_GIVEN}{number}"


def is_given(turn_id: str) -> bool:
    """Whether the messages of this turn are the caller's word, and no turn of Lex."""
    return turn_id.startswith(_GIVEN)
