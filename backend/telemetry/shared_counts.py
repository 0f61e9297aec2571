"""The directory in which several workers count, and the folding of what dead workers counted.

The client library keeps files for each process that ever counted, so every dead worker would make
each scrape slower, for good. Here the arbiter adds a dead worker's counts to one file per kind.

Readers take no lock, because a reader that hangs must not stop the arbiter. A manifest tells which
files count: it is replaced in one step, and only then are the folded files deleted. A reader that
sees another manifest at its end than at its beginning reads again.
"""

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import cast

import msgspec
from prometheus_client import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

KINDS = ("counter", "histogram")
"""The kinds whose values outlive their process. A gauge only counts while its worker lives."""
MANIFEST = "folded.json"
MOST_READS = 50
"""A fold takes milliseconds, and workers seldom die: a second read nearly always succeeds."""


class Manifest(msgspec.Struct, frozen=True):
    """Which files count: all but those that are `gone`, and of the folded ones only `number`."""

    number: int = 0
    gone: tuple[str, ...] = ()

    @property
    def folded(self) -> tuple[str, ...]:
        return tuple(f"{kind}_folded{self.number}.db" for kind in KINDS)

    def counts(self, name: str) -> bool:
        return name not in self.gone and ("_folded" not in name or name in self.folded)


class CountsMoved(Exception):
    """The files changed during each of `MOST_READS` reads."""


class SharedCounts(Collector):
    """Collects the counts of all workers, living or dead. For a `CollectorRegistry`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        """Return the sums. Raises: CountsMoved."""
        for _ in range(MOST_READS):
            manifest = _read_manifest(self._directory)
            try:
                files = [
                    str(file)
                    for file in self._directory.glob("*.db")
                    # A new worker's file is empty for a moment.
                    if manifest.counts(file.name) and file.stat().st_size
                ]
                merged = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
            except FileNotFoundError:
                continue  # it has just been folded
            if _read_manifest(self._directory) == manifest:
                return cast(Iterable[Metric], merged)
        raise CountsMoved


def fold(directory: Path, pid: int) -> None:
    """Add what a dead process counted to the folded counts, and delete its files.

    Only one process may call this. `pid` must not be used again before it returns.

    Raises:
        OSError: the files could not be written. They count as before.
    """
    mark_process_dead(pid, str(directory))  # type: ignore[no-untyped-call]  # deletes its gauges
    old = _read_manifest(directory)
    own = [f"{kind}_{pid}.db" for kind in KINDS]
    if not any((directory / name).exists() for name in own):
        return
    new = Manifest(old.number + 1, gone=(*own, *old.folded))
    for before, added, after in zip(old.folded, own, new.folded, strict=True):
        sums = _sums([directory / before, directory / added])
        (directory / after).write_bytes(_encoded(sums))
    _write_manifest(directory, new)
    for name in new.gone:
        (directory / name).unlink(missing_ok=True)
    # A later process may get the same id, and its files must count.
    _write_manifest(directory, Manifest(new.number))


def _sums(files: Iterable[Path]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for file in files:
        if file.exists() and file.stat().st_size:
            kept = MmapedDict.read_all_values_from_file(str(file))  # type: ignore[no-untyped-call]
            for key, value, _, _ in kept:
                sums[key] = sums.get(key, 0.0) + value
    return sums


def _encoded(values: dict[str, float]) -> bytes:
    """The content of a file of the client library, as `MmapedDict` describes it.

    That class writes through a memory map. On a full disk, this would kill the arbiter.
    """
    entries = []
    for key, value in values.items():
        name = key.encode()
        padded = name + b" " * (8 - (len(name) + 4) % 8)
        entries.append(struct.pack(f"i{len(padded)}sdd", len(name), padded, value, 0.0))
    content = b"".join(entries)
    return struct.pack("ii", 8 + len(content), 0) + content


def _read_manifest(directory: Path) -> Manifest:
    try:
        return msgspec.json.decode((directory / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        return Manifest()


def _write_manifest(directory: Path, manifest: Manifest) -> None:
    written = directory / f"{MANIFEST}.new"
    written.write_bytes(msgspec.json.encode(manifest))
    written.replace(directory / MANIFEST)
