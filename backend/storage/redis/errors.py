"""Redis errors, reworded for the log and for `/readyz`.

Most Redis errors name their cause in the first word. The rest of their text is never passed on,
because it quotes keys and arguments.
"""

import re
import socket
import ssl
from collections.abc import Iterator

from redis import exceptions
from redis.exceptions import RedisError

from backend.network.connection_errors import cause_of

SILENCE = "no answer in time"
CLUSTER = "it is a node of a cluster: write redis+cluster:// in its URL"
NO_CLUSTER = "it is not in a cluster: write redis:// in its URL"
SENTINEL = "it is a Sentinel: write redis+sentinel:// and the master's name in its URL"
NO_SENTINEL = "it is not a Sentinel: write redis:// in its URL"
NO_MASTER = "its Sentinels know no master of this name"
CLUSTER_DOWN = "its cluster is down, or elects a new master"
CLUSTER_MOVES = "its cluster is moving keys"
REPLICA = "a replica, which takes no writes"

OF_OTHER_KIND = frozenset((CLUSTER, NO_CLUSTER, SENTINEL, NO_SENTINEL))
"""Causes for which `REDIS_URL` must be written in another way."""

_COMMAND = re.compile(r"(?:run the|unknown command) ['`]([\w|-]+)")
_LINE_OF_SCRIPT = re.compile(r"@user_script:(\d+)")
_CALL_IN_SCRIPT = re.compile(r"redis\.call\('(\w+)'")


class Unusable(RedisError):
    """An error whose message is its cause, in words for the operator."""


_KINDS: dict[type[RedisError], str] = {
    exceptions.MovedError: CLUSTER,
    exceptions.AskError: CLUSTER,
    exceptions.TryAgainError: CLUSTER,
    exceptions.ClusterCrossSlotError: CLUSTER,
    exceptions.MasterDownError: "a replica without its master",
    exceptions.ClusterDownError: CLUSTER,
    exceptions.ReadOnlyError: REPLICA,
    exceptions.BusyLoadingError: "it is still loading its data",
    exceptions.OutOfMemoryError: "its memory is full",
}
"""For errors whose first word redis-py removes. The first matching type wins."""

_WORDS = {
    "wrongpass": "wrong user name or password",
    "invalid username-password": "wrong user name or password",
    "invalid password": "wrong password",
    "noauth": "a password is needed",
    "authentication required": "a password is needed",
    "already authenticated": "a password is needed",
    "without any password configured": "a password is given, but the server has none",
    "protected mode": "protected mode: it only accepts connections from its own machine",
    "denied": "it refuses connections from this address",
    "moved": CLUSTER,
    "ask": CLUSTER,
    "clusterdown": CLUSTER,
    "crossslot": CLUSTER,
    "cluster mode": CLUSTER,
    "cluster support": NO_CLUSTER,
    "hash slot": CLUSTER,
    "db index is out of range": "no database with this number",
    "readonly": REPLICA,
    "read only replica": REPLICA,
    "now a slave": REPLICA,
    "unblocked": REPLICA,
    "masterdown": "a replica without its master",
    "noreplicas": "too few replicas to accept writes",
    "loading": "it is still loading its data",
    "oom": "its memory is full",
    "used memory": "its memory is full",
    "misconf": "it cannot save to its disk, and refuses writes",
    "max number of clients": "it has too many clients",
    "busy": "it is busy with a script",
    "wrongtype": "another program has written to a key of Lex",
}
"""The causes, by a piece of Redis's error text in lower case."""

# Phrases before single words, longest first: "cluster mode" says more than "ask" or "busy".
_SENTENCES = sorted(_WORDS, key=lambda piece: (" " not in piece, -len(piece)))


def fault_of(error: BaseException, *, script: str = "") -> str:
    """Return the cause in a few words, such as `wrong user name or password`.

    Pass the source of the `script` that failed: Redis only reports a line number in it, and the
    command is read from that line.
    """
    chain = list(_chain(error))
    for each in chain:
        if isinstance(each, RedisError) and (words := _words_for(each, script)):
            return words
    for each in reversed(chain):
        if words := _of_the_network(each):
            return words
    return _of_the_client(chain[0])


def is_of_one_key(error: BaseException) -> bool:
    """Whether the command failed only because of the value under its key."""
    return "wrongtype" in str(error).casefold()


def _is_of_the_system(error: RedisError) -> bool:
    """Whether redis-py wrapped an error of the operating system.

    The text names hosts and files, which could contain any of the words in `_WORDS`.
    """
    return isinstance(error.__cause__ or error.__context__, OSError)


def _words_for(error: RedisError, script: str) -> str | None:
    if isinstance(error, Unusable):
        return str(error)
    if _is_of_the_system(error):
        return None
    text = str(error).casefold()
    if "permission" in text or "executing the script can't" in text:
        return _missing_right(text, script)
    if "unknown command" in text or "unknown redis command" in text:
        return f"it does not know the command {_command(text, script)}"
    for kind, words in _KINDS.items():
        if isinstance(error, kind):
            return words
    for piece in _SENTENCES:
        if re.search(rf"\b{re.escape(piece)}\b", text):
            return _WORDS[piece]
    is_refused = isinstance(error, exceptions.AuthenticationError)
    return "wrong user name or password" if is_refused else None


def _missing_right(text: str, script: str) -> str:
    """Redis grants commands and keys separately."""
    if "key" in text:
        return "no permission for the keys lex:*"
    return f"no permission for the command {_command(text, script)}"


def _command(text: str, script: str) -> str:
    if found := _COMMAND.search(text):
        return found[1]
    line = _LINE_OF_SCRIPT.search(text)
    lines = script.splitlines()[int(line[1]) - 1 :] if line else []
    called = _CALL_IN_SCRIPT.search(lines[0]) if lines else None
    return called[1].lower() if called else "of a script"


def _of_the_network(error: BaseException) -> str | None:
    match error:
        case ssl.SSLError():
            return cause_of(error)
        case socket.gaierror():
            return "its host name cannot be resolved"
        case ConnectionRefusedError():
            return "connection refused"
        case FileNotFoundError():
            return "its socket, or a file of ssl_ca_certs, does not exist"
        case PermissionError():
            return "no permission for its socket, or for a file of ssl_ca_certs"
        case ConnectionResetError() | BrokenPipeError():
            return "the connection broke"
        case TimeoutError() | exceptions.TimeoutError():
            return SILENCE
        case OSError():
            return error.strerror or type(error).__name__
    return None


def _of_the_client(error: BaseException) -> str:
    match error:
        case exceptions.InvalidResponse():
            return "the server at this address is not Redis"
        case exceptions.ConnectionError() if "closed by server" in str(error).lower():
            return "it closed the connection: perhaps one of the two expects TLS"
    return type(error).__name__


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and its causes. redis-py often raises without `from`, so contexts count."""
    following: BaseException | None = error
    seen: set[int] = set()
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__
