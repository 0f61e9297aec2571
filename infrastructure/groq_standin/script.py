"""What a test or a load generator wants to be answered: a script of rounds, strictly decoded.

    {"rounds": [{"calls": [{"name": "get_weather", "arguments": {"city": "Paris"}}]},
                {"text": "34°C in Paris.", "tokens_per_second": 30}]}

Each round is one completion. The round that is played is the number of assistant messages after
the last user message of the request; past the end the last round is played again and again.
"""

import json
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from infrastructure.groq_standin.faults import AnyFault, Seconds

MARK = "[[script"
"""A user message with `[[script {…}]]` in it brings its own script."""


class ScriptError(ValueError):
    """What is wrong with a script, and where in it."""


class Call(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A tool call. Arguments that are a string are sent as they are."""

    name: str
    arguments: dict[str, Any] | str = {}
    id: str | None = None


class Round(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """One completion. Without `tokens_per_second` it is written in one go."""

    text: str | None = None
    tokens: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    calls: tuple[Call, ...] = ()
    reasoning: str | None = None
    finish_reason: str | None = None
    tokens_per_second: Annotated[float, Meta(gt=0)] | None = None
    first_token_after: Seconds = 0.0
    headers: dict[str, str | None] = {}
    usage: dict[str, int | float] = {}
    x_groq_error: str | None = None
    characters_per_token: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    split_arguments_into: Annotated[int, Meta(ge=1, le=10_000)] = 1
    fault: AnyFault | None = None

    def __post_init__(self) -> None:
        if self.text is not None and self.tokens is not None:
            raise ValueError("a round has `text` or `tokens`, not both")
        for name, value in self.headers.items():
            if not name.isascii() or any(c in f"{name}{value}" for c in "\r\n"):
                raise ValueError(f"not a header: {name!r}")


class Script(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Rounds, and which requests they are for.

    `times` is how many completions a pushed script answers before it is forgotten; null is for
    ever; left out, it is enough to play every round once and every counted fault before it.
    `key` names the count of a fault's `times` when the script comes in a query.
    """

    rounds: Annotated[tuple[Round, ...], Meta(min_length=1)]
    times: Annotated[int, Meta(ge=1)] | UnsetType | None = UNSET
    model: str | None = None
    contains: str | None = None
    key: str | None = None

    @property
    def answers(self) -> int | None:
        """For how many completions a pushed script is good; none is for ever."""
        if self.times is not UNSET:
            return self.times
        faults = (played.fault.times or 0 for played in self.rounds if played.fault is not None)
        return len(self.rounds) + sum(faults)

    def round(self, index: int) -> Round:
        return self.rounds[min(index, len(self.rounds) - 1)]


def decode(data: bytes | str) -> Script:
    """Read a script from JSON.

    Raises:
        ScriptError: with the place and the reason.
    """
    try:
        return _decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ScriptError(f"script: {error}") from error


def convert(value: Any) -> Script:
    """Read a script from plain Python values.

    Raises:
        ScriptError: with the place and the reason.
    """
    try:
        return msgspec.convert(value, Script)
    except msgspec.ValidationError as error:
        raise ScriptError(f"script: {error}") from error


@lru_cache(maxsize=256)
def in_query(query: str) -> Script | None:
    """The script that a user message brings along, if it does.

    Raises:
        ScriptError: it is none.
    """
    start = query.find(MARK)
    if start < 0:
        return None
    written = query[start + len(MARK) :].lstrip()
    try:
        _, end = json.JSONDecoder().raw_decode(written)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ScriptError(f"script: {error}") from error
    if not written[end:].lstrip().startswith("]]"):
        raise ScriptError("script: `]]` is missing after its JSON")
    return decode(written[:end])


_decoder = msgspec.json.Decoder(Script)
