"""Names of a request's client and session that contain no person.

Log lines, spans and exemplars carry the name of the API key, which an operator chose, and keyed
hashes of the client and of the session. Without the key, nobody can compute the hash of a guess.

With `LOG_HASH_KEY` in the environment, this prints the hash of a session, or of a client:

    python -m backend.telemetry.identity session:web-17 user:alice address:203.0.113.7
"""

import hmac
import os
import secrets
import sys
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from hashlib import sha256
from types import MappingProxyType

from opentelemetry import trace
from structlog.types import EventDict, WrappedLogger

CLIENT, CLIENT_HASH, SESSION_HASH = "client", "client_hash", "session_hash"

ATTRIBUTES = {
    CLIENT: "lex.client.name",
    CLIENT_HASH: "lex.client.hash",
    SESSION_HASH: "lex.session.hash",
}
"""The names in spans, by the names in log lines."""

EXEMPLARS = (CLIENT_HASH, SESSION_HASH)
"""The names in exemplars. The name of a key may be too long: an exemplar has 128 characters."""

HASH_CHARACTERS = 16

# Random per start. gunicorn's arbiter imports this module before it forks, so all its workers have
# the same key.
_random_key = hmac.new(secrets.token_bytes(32), digestmod=sha256)
_keyed = _random_key
"""Copied for each hash, which takes two thirds of the time of `hmac.digest`."""

_NOBODY: Mapping[str, str] = MappingProxyType({})
_known: ContextVar[Mapping[str, str]] = ContextVar("identity", default=_NOBODY)


def use_key(key: str | None) -> None:
    """Compute hashes with this key from now on, or with the random one."""
    global _keyed  # noqa: PLW0603 - one per process, like the metrics
    _keyed = _random_key if key is None else hmac.new(key.encode(), digestmod=sha256)


def hashed(name: str) -> str:
    """The keyed hash of a name such as `session:web-17`: HMAC-SHA256, its first 16 hex digits."""
    hashing = _keyed.copy()
    hashing.update(name.encode(errors="replace"))
    return hashing.hexdigest()[:HASH_CHARACTERS]


def hash_of_session(session_id: str) -> str:
    return hashed(f"session:{session_id}")


def begin() -> None:
    """Begin a request of an unknown client."""
    _known.set(_NOBODY)


def note_client(name: str, *, key_name: str | None) -> None:
    """Name the client in all later lines and spans of this request, and of the turn it starts."""
    named = {} if key_name is None else {CLIENT: key_name}
    _note({**named, CLIENT_HASH: hashed(name)})


def note_session(session_id: str) -> None:
    """Name the session in all later lines and spans of this request, and of the turn it starts."""
    _note({SESSION_HASH: hash_of_session(session_id)})


def known() -> Mapping[str, str]:
    """The known names of the current request: `CLIENT`, `CLIENT_HASH`, `SESSION_HASH`."""
    return _known.get()


def attributes() -> dict[str, str]:
    """The known names of the current request, as the attributes of a span."""
    return {ATTRIBUTES[name]: value for name, value in _known.get().items()}


def add_to_line(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A processor for structlog. A line's own fields win, such as those of a background task."""
    for name, value in _known.get().items():
        event.setdefault(name, value)
    return event


def _note(names: Mapping[str, str]) -> None:
    _known.set({**_known.get(), **names})
    span = trace.get_current_span()
    if span.is_recording():
        span.set_attributes({ATTRIBUTES[name]: value for name, value in names.items()})


USAGE = """usage: LOG_HASH_KEY=… python -m backend.telemetry.identity NAME …
A name is session:ID, user:NAME or, without authentication, address:IP.
"""


def main(names: Sequence[str], variables: Mapping[str, str]) -> int:
    key = variables.get("LOG_HASH_KEY")
    if not key or not names:
        sys.stderr.write(USAGE)
        return 2
    use_key(key)
    sys.stdout.writelines(f"{hashed(name)}\n" for name in names)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], os.environ))
