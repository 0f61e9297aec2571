"""The kernel's counters of a process, read from outside as the benchmark does."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loadtests.bench.processes import Server

COUNTING = """
import time
print(flush=True)
input()
begun = time.process_time()
sum(range(2_000_000))
print(time.process_time() - begun, flush=True)
input()
"""
FILLING = """
print(flush=True)
input()
filled = bytearray(b"x") * 20_000_000
print(len(filled), flush=True)
input()
"""


@contextmanager
def a_process(code: str) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-S", "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert its_line(process)  # it has started
        yield process
        process.communicate("\n")


def its_word(process: "subprocess.Popen[str]") -> float:
    """The number that the process prints after its work and before it ends."""
    assert process.stdin
    process.stdin.write("\n")
    process.stdin.flush()
    return float(its_line(process))


def its_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline()


def counted(process: "subprocess.Popen[str]") -> Server:
    return Server("http://127.0.0.1:9", process.pid, Path("none"))


def test_processor_time_is_counted_more_finely_than_in_ticks() -> None:
    with a_process(COUNTING) as process:
        before = counted(process).cpu_seconds
        by_itself = its_word(process)
        taken = counted(process).cpu_seconds - before

    assert by_itself <= taken < by_itself + 1
    assert taken != pytest.approx(round(taken, 2), abs=1e-7)


def test_memory_that_is_filled_is_counted() -> None:
    with a_process(FILLING) as process:
        before = counted(process).memory_bytes
        filled = its_word(process)
        grown = counted(process).memory_bytes - before

    assert grown == pytest.approx(filled, rel=0.1)
