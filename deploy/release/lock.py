"""Reads a lock of Python packages, as `make lock` writes it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.release import NotReady

_PACKAGE = re.compile(
    r"^(?P<name>[\w.-]+)(\[[\w,.-]+\])?==(?P<version>[^\s;]+)(?: ; (?P<marker>.+?))? \\$"
)
_HASH = re.compile(r"^    --hash=sha256:([0-9a-f]{64})( \\)?$")
_VIA = re.compile(r"^    # via (\S+)")
_ALSO_VIA = re.compile(r"^    #   (\S+)")
_COMMENT = re.compile(r"^(#.*|    # via)?$")


@dataclass(frozen=True)
class Locked:
    """A package of a lock."""

    name: str
    version: str
    marker: str
    """Where it is installed; everywhere if this is empty."""
    sha256: tuple[str, ...]
    """The files that may be installed: one for each platform."""
    needed_by: tuple[str, ...]
    """Names of the packages that need it; `lex` is the service itself."""


def locked(path: Path) -> list[Locked]:
    """All packages of a lock, in its order.

    Raises:
        NotReady: a line is none that `make lock` writes, or a package has no hash.
    """
    return [_package(path, lines) for lines in _blocks(path)]


def _blocks(path: Path) -> Iterator[list[str]]:
    block: list[str] = []
    for line in path.read_text().splitlines():
        if _PACKAGE.match(line) and block:
            yield block
            block = []
        if block or not _COMMENT.match(line):
            block.append(line)
    if block:
        yield block


def _package(path: Path, lines: list[str]) -> Locked:
    first = _PACKAGE.match(lines[0])
    if not first:
        raise NotReady(f"{path.name}: not a package of one version with hashes: {lines[0]!r}.")
    sha256, needed_by = [], []
    for line in lines[1:]:
        if found := _HASH.match(line):
            sha256.append(found[1])
        elif found := _VIA.match(line) or _ALSO_VIA.match(line):
            needed_by.append(found[1])
        elif not _COMMENT.match(line):
            raise NotReady(f"{path.name}: not a line of `make lock`: {line!r}.")
    if not sha256:
        raise NotReady(f"{path.name}: {first['name']} has no hash.")
    return Locked(
        name=first["name"].lower().replace("_", "-"),
        version=first["version"],
        marker=first["marker"] or "",
        sha256=tuple(sha256),
        needed_by=tuple(sorted(set(needed_by))),
    )
