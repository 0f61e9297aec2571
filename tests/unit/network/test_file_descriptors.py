"""The load that a descriptor limit allows, and the errors that an exhausted limit causes."""

import errno
import socket
import sqlite3

import pytest

from backend.network.file_descriptors import Budget, budget, exhaustion_of, needed
from tests.exhaustion import no_descriptors_left


@pytest.mark.parametrize(
    ("descriptors", "others", "expected"),
    [
        (1_048_576, 0, Budget(streams=2000, connections=1_046_448)),
        (4128, 0, Budget(streams=2000, connections=2000)),
        (4128, 100, Budget(streams=1950, connections=1950)),
        (1024, 0, Budget(streams=448, connections=448)),
        (300, 0, Budget(streams=86, connections=86)),
        (64, 0, Budget(streams=1, connections=1)),
    ],
)
def test_a_turn_has_two_descriptors_and_some_are_kept_for_the_rest(
    descriptors: int, others: int, expected: Budget
) -> None:
    assert budget(descriptors, max_streams=2000, others=others) == expected


def test_what_is_needed_suffices() -> None:
    enough, one_less = needed(2000), needed(2000) - 1

    assert budget(enough, max_streams=2000).streams == 2000
    assert budget(one_less, max_streams=2000).streams == 1999


def caused_by(cause: Exception) -> Exception:
    error = RuntimeError("cannot connect")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "EMFILE"),
        (OSError(errno.ENFILE, "Too many open files in system"), "ENFILE"),
        (caused_by(OSError(errno.EMFILE, "")), "EMFILE"),
        (RuntimeError("connection failed: could not create socket: Too many open files"), "EMFILE"),
        (RuntimeError("Error 23 connecting: Too many open files in system."), "ENFILE"),
    ],
)
def test_an_error_is_named_wherever_it_stands(error: Exception, name: str) -> None:
    words = exhaustion_of(error)

    assert words is not None
    assert words.startswith(f"{name}: ")


OTHERS = [
    OSError(errno.ECONNREFUSED, "Connection refused"),
    TimeoutError(),
    socket.gaierror(-2, "Name or service not known"),
    sqlite3.OperationalError("unable to open database file"),
    RuntimeError("Too many connections"),
]


@pytest.mark.parametrize("error", OTHERS, ids=repr)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert exhaustion_of(error) is None


@pytest.mark.parametrize("error", OTHERS[2:4], ids=repr)
def test_errors_that_hide_their_cause_are_named_while_there_is_no_descriptor(
    error: Exception,
) -> None:
    with no_descriptors_left():
        words = exhaustion_of(error)

    assert words is not None
    assert words.startswith("EMFILE: ")
