"""Translating Redis errors into causes for operators."""

import socket
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, cast

import pytest
from redis import exceptions

from backend.api.rate_limits.redis_pipeline import connect
from backend.storage.redis.errors import CLUSTER, SILENCE, fault_of, is_of_one_key

ResponseError = exceptions.ResponseError


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (exceptions.AuthenticationError("invalid username-password pair"), "wrong user name"),
        (exceptions.AuthenticationError("WRONGPASS invalid"), "wrong user name"),
        (exceptions.AuthenticationError("Authentication required."), "a password is needed"),
        (
            exceptions.NoPermissionError("User lex has no permissions to run the 'xadd' command"),
            "no permission for the command xadd",
        ),
        (
            exceptions.NoPermissionError("No permissions to access a key"),
            "no permission for the keys lex:*",
        ),
        (exceptions.MovedError("3999 127.0.0.1:6381"), CLUSTER),
        (exceptions.ClusterDownError("Hash slot not served"), CLUSTER),
        (ResponseError("SELECT is not allowed in cluster mode"), CLUSTER),
        (ResponseError("DB index is out of range"), "no database with this number"),
        (exceptions.ReadOnlyError("You can't write against"), "a replica, which takes no writes"),
        (exceptions.BusyLoadingError("Redis is loading"), "it is still loading its data"),
        (exceptions.OutOfMemoryError("command not allowed"), "its memory is full"),
        (ResponseError("MISCONF Redis is configured"), "it cannot save to its disk"),
        (ResponseError("max number of clients reached"), "it has too many clients"),
        (ResponseError("unknown command 'EVAL', with args"), "it does not know the command eval"),
        (
            exceptions.InvalidResponse("Protocol Error: H"),
            "the server at this address is not Redis",
        ),
        (exceptions.ConnectionError("Connection closed by server."), "it closed the connection"),
        (exceptions.TimeoutError("Timeout reading"), SILENCE),
        (socket.gaierror(-2, "Name or service not known"), "its host name cannot be resolved"),
        (ValueError("secret"), "ValueError"),
    ],
    ids=str,
)
def test_a_cause_is_told_in_words(error: Exception, told: str) -> None:
    assert fault_of(error).startswith(told)


def test_a_cause_is_found_behind_the_error_that_hides_it() -> None:
    hiding = exceptions.ConnectionError("Error connecting")
    hiding.__context__ = ConnectionRefusedError(111, "Connection refused")

    assert fault_of(hiding) == "connection refused"


@pytest.mark.parametrize(
    ("text", "cause", "told"),
    [
        (
            "Error 13 connecting to unix socket: /run/redis.sock. Permission denied.",
            PermissionError(13, "Permission denied"),
            "no permission for its socket, or for a file of ssl_ca_certs",
        ),
        (
            "Error 2 connecting to unix socket: /run/busy/redis.sock. No such file or directory.",
            FileNotFoundError(2, "No such file or directory"),
            "its socket, or a file of ssl_ca_certs, does not exist",
        ),
        (
            "Error 111 connecting to ask.example.com:6379. Connection refused.",
            ConnectionRefusedError(111, "Connection refused"),
            "connection refused",
        ),
        (
            "Error -2 connecting to redis-busy:6379. Name or service not known.",
            socket.gaierror(-2, "Name or service not known"),
            "its host name cannot be resolved",
        ),
        (
            "Error while reading from loading.example.com:6379 : (104, 'Connection reset by peer')",
            ConnectionResetError(104, "Connection reset by peer"),
            "the connection broke",
        ),
        ("Timeout connecting to server denied.example.com", TimeoutError(), SILENCE),
    ],
    ids=str,
)
def test_a_name_of_a_host_or_a_file_is_no_word_of_redis(
    text: str, cause: OSError, told: str
) -> None:
    around = exceptions.ConnectionError(text)
    around.__context__ = cause

    assert fault_of(around) == told


async def test_a_socket_and_a_file_of_authorities_that_do_not_exist_are_told(
    tmp_path: Path,
) -> None:
    told = "its socket, or a file of ssl_ca_certs, does not exist"

    assert await fault_at(f"unix://{tmp_path}/permission.sock") == told
    assert await fault_at(f"rediss://127.0.0.1:9/0?ssl_ca_certs={tmp_path}/busy.pem") == told


async def fault_at(url: str) -> str:
    async with connect(url) as client:
        with pytest.raises(exceptions.ConnectionError) as failed:
            await cast(Awaitable[Any], client.ping())
    return fault_of(failed.value)


def test_what_redis_says_after_a_connection_broke_counts() -> None:
    broken = exceptions.ConnectionError("Error while reading")
    broken.__context__ = ConnectionResetError(104, "Connection reset by peer")
    refused = exceptions.AuthenticationError("WRONGPASS invalid")
    refused.__context__ = broken

    assert fault_of(refused) == "wrong user name or password"


def test_in_a_script_the_command_is_that_of_its_line() -> None:
    error = ResponseError("The user executing the script can't run this command, @user_script:2.")

    told = fault_of(error, script="\nredis.call('ZADD', KEYS[1], 1, 'a')\n")

    assert told == "no permission for the command zadd"


def test_what_is_stored_under_one_key_is_no_fault_of_redis() -> None:
    assert is_of_one_key(ResponseError("WRONGTYPE Operation against a key"))
    assert not is_of_one_key(exceptions.ReadOnlyError("You can't write"))
