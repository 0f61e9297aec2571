"""The files that settings are read from, and misspelt names in them."""

import difflib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from dotenv.parser import Binding, parse_stream

FILES = ("backend/.env", ".env")

_SIMILAR = 0.75
"""The least similarity, from 0 to 1. It catches one or two wrong letters, and does not take
`MAX_TURNS` for `MAX_ROUNDS`."""

_OF_OTHERS = {
    *("HOST", "PORT", "PAGE_PORT", "WEB_CONCURRENCY", "PRE_STOP_SECONDS"),
    *("TERMINATION_GRACE_SECONDS", "PROFILE", "LOAD_HOST", "BASE_IMAGE", "NO_PROXY"),
}
_PREFIXES_OF_OTHERS = ("OTEL_", "COMPOSE_", "DOCKER_", "POSTGRES_", "PYTHON", "PIP_", "UVICORN_")
"""Names of other programs: Compose and shells read the same file."""


@dataclass(frozen=True)
class UnknownName:
    """A line of a file that sets something other than a setting of ours."""

    file: str
    line: int
    name: str | None = None
    """Only given if it looks like a misspelt setting. Anything else may be part of a secret: a key
    on a line of its own, or a line of a certificate that was pasted without quotation marks.
    """
    nearest: str | None = None
    """The setting that was probably meant."""


def unknown_names(known: Collection[str], files: Collection[str] = FILES) -> Iterator[UnknownName]:
    """Find names in the files that are not in `known`, the settings' names in capital letters.

    Raises:
        UnicodeDecodeError: a file is not UTF-8 text.
    """
    for file in files:
        for binding in _bindings(Path(file)):
            name = (binding.key or "").upper()
            if name and name not in known and not _is_of_others(name):
                yield _unknown_name(binding, file, known)


def unreadable_file(files: Collection[str] = FILES) -> str | None:
    """The first file that is not UTF-8 text; None if all are."""
    return next((file for file in files if not _is_text(Path(file))), None)


def _bindings(path: Path) -> Iterator[Binding]:
    if path.is_file():
        with path.open(encoding="utf-8") as stream:
            yield from parse_stream(stream)


def _unknown_name(binding: Binding, file: str, known: Collection[str]) -> UnknownName:
    name, line = binding.key or "", _line(binding)
    is_assigned = binding.value is not None and re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII)
    nearest = _nearest(name.upper(), known) if is_assigned else None
    return UnknownName(file, line, name if nearest else None, nearest)


def _line(binding: Binding) -> int:
    """The line of the name itself. The parser counts blank lines before it to its binding."""
    text = binding.original.string
    return binding.original.line + text[: len(text) - len(text.lstrip())].count("\n")


def _is_text(path: Path) -> bool:
    try:
        path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return False
    except OSError:
        return True
    return True


def _is_of_others(name: str) -> bool:
    is_proxy = name.endswith("_PROXY")
    return is_proxy or name in _OF_OTHERS or name.startswith(_PREFIXES_OF_OTHERS)


def _nearest(name: str, known: Collection[str]) -> str | None:
    found = difflib.get_close_matches(name, known, n=1, cutoff=_SIMILAR)
    return found[0] if found else None
