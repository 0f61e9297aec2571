"""Counts of dead workers are folded into one file per kind, and no reader notices."""

import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backend.telemetry.shared_counts import MANIFEST, SharedCounts, fold
from tests.processes import ROOT

WORKER = """
from backend.telemetry import metrics
for _ in range(3):
    metrics.stream_resumed()
metrics.first_chunk_sent("sse", 0.25)
metrics.first_chunk_sent("sse", 2.125)
metrics.worker_waits(is_waiting=True)
"""


@pytest.fixture(scope="module")
def of_a_worker(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a process that has counted, by their names without the process id."""
    folder = tmp_path_factory.mktemp("worker")
    variables = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    subprocess.run([sys.executable, "-c", WORKER], env=variables, cwd=ROOT, check=True)
    return {file.name.rpartition("_")[0]: file.read_bytes() for file in folder.iterdir()}


def work(folder: Path, pid: int, files: dict[str, bytes]) -> None:
    """Leave the files of a worker with this id."""
    for name, content in files.items():
        (folder / f"{name}_{pid}.db").write_bytes(content)


def values(folder: Path) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for metric in SharedCounts(folder).collect()
        for sample in metric.samples
    }


def resumed(folder: Path) -> float:
    return values(folder)["lex_resumed_streams_total", ()]


def test_the_counts_are_the_same_before_and_after_and_the_gauges_are_gone(
    of_a_worker: dict[str, bytes], tmp_path: Path
) -> None:
    for pid in (7, 8, 9):
        work(tmp_path, pid, of_a_worker)
    before = values(tmp_path)

    for pid in (7, 8):
        fold(tmp_path, pid)

    after = values(tmp_path)
    waiting = "lex_workers_waiting", ()
    assert (before[waiting], after[waiting]) == (3, 1)
    counts = {key for key in before if key[0].endswith(("_total", "_bucket", "_sum", "_count"))}
    assert {key: after[key] for key in counts} == {key: before[key] for key in counts}
    assert after["lex_resumed_streams_total", ()] == 9
    first_chunk = "lex_time_to_first_chunk_seconds"
    assert after[f"{first_chunk}_sum", (("transport", "sse"),)] == 3 * 2.375
    assert after[f"{first_chunk}_bucket", (("le", "2.0"), ("transport", "sse"))] == 3


def test_fifty_deaths_leave_two_small_files_and_a_read_as_quick_as_before(
    of_a_worker: dict[str, bytes], tmp_path: Path
) -> None:
    work(tmp_path, 1, of_a_worker)
    work(tmp_path, 2, of_a_worker)
    fold(tmp_path, 2)  # the first death adds the folded files
    quick = seconds_of_a_read(tmp_path)

    for pid in range(100, 150):
        work(tmp_path, pid, of_a_worker)
        fold(tmp_path, pid)

    files = {file.name for file in tmp_path.iterdir() if not file.name.startswith("gauge_")}
    folded = {"counter_folded51.db", "histogram_folded51.db", MANIFEST}
    assert files == {"counter_1.db", "histogram_1.db", *folded}
    assert sum((tmp_path / name).stat().st_size for name in folded) < 200_000
    assert resumed(tmp_path) == 3 * 52
    assert seconds_of_a_read(tmp_path) < 2 * quick


def seconds_of_a_read(folder: Path) -> float:
    """The shortest of several reads, which a busy machine delays least."""
    durations = []
    for _ in range(10):
        begun = time.perf_counter()
        values(folder)
        durations.append(time.perf_counter() - begun)
    return min(durations)


def test_who_reads_during_a_fold_sees_no_dip_and_no_double_count(
    of_a_worker: dict[str, bytes], tmp_path: Path
) -> None:
    pids = range(100, 130)
    for pid in pids:
        work(tmp_path, pid, of_a_worker)
    seen: set[float] = set()
    reads = 0
    is_over = threading.Event()

    def read() -> None:
        nonlocal reads
        while not is_over.is_set():
            seen.add(resumed(tmp_path))
            reads += 1

    reader = threading.Thread(target=read)
    reader.start()
    for pid in pids:
        fold(tmp_path, pid)
        until = reads + 1
        while reader.is_alive() and reads < until:
            time.sleep(0.001)
    is_over.set()
    reader.join()

    assert reads >= len(pids)
    assert seen == {3 * len(pids)}


def test_a_new_worker_may_have_the_id_of_a_dead_one(
    of_a_worker: dict[str, bytes], tmp_path: Path
) -> None:
    for _ in range(2):
        work(tmp_path, 7, of_a_worker)
        fold(tmp_path, 7)
    work(tmp_path, 7, of_a_worker)

    assert resumed(tmp_path) == 9


def test_a_worker_that_never_counted_leaves_nothing_to_fold(tmp_path: Path) -> None:
    (tmp_path / "counter_7.db").touch()  # it died in the moment of its creation

    fold(tmp_path, 7)
    fold(tmp_path, 8)

    assert values(tmp_path) == {}


def test_on_a_full_disk_the_counts_stay_where_they_are(
    of_a_worker: dict[str, bytes], tmp_path: Path
) -> None:
    work(tmp_path, 7, of_a_worker)

    with full_disk(), pytest.raises(OSError, match="too large"):
        fold(tmp_path, 7)

    before = resumed(tmp_path)
    fold(tmp_path, 7)
    assert (before, resumed(tmp_path)) == (3, 3)


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow beyond a kilobyte."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_files_that_an_unfinished_fold_has_left_do_not_count(
    of_a_worker: dict[str, bytes], tmp_path: Path
) -> None:
    work(tmp_path, 7, of_a_worker)
    shutil.copy(tmp_path / "counter_7.db", tmp_path / "counter_folded1.db")

    assert resumed(tmp_path) == 3
