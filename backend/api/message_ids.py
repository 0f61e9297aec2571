"""Ids of messages, which clients send to ask a question again.

The id of message number n of a turn is `<turn>-<n>`. Number 1 is the question.
"""

import re

from backend.domain.errors import NothingToReplace

_ID = re.compile(r"([0-9a-f]{16}|given-\d{1,9})-[1-9]\d{0,8}", re.ASCII)


def turn_of(message_id: str) -> str:
    """Return the turn that a message belongs to. Raises: NothingToReplace."""
    found = _ID.fullmatch(message_id)
    if found is None:
        raise NothingToReplace
    return found[1]


def is_message_id(text: str) -> bool:
    """Whether a message of Lex could have this id."""
    return _ID.fullmatch(text) is not None
