"""`python -m infrastructure.prose [FILE …]`, a part of `make check`.

Prints a line for each fault: file, line, what is wrong, and the rule. Exits with 1 if there is any.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from infrastructure.prose.passages import Place, Text, passages
from infrastructure.prose.style import LONGEST_SENTENCE, RULES

ROOT = Path(__file__).parents[2]
FROZEN = ("infrastructure/groq_standin/", "loadtests/bench/obvious.py")
"""The Python files of the benchmark's yardsticks, whose hash is in its results."""

FOLDERS = ("backend", "deploy", "docs", "infrastructure", "loadtests", "tests")


def main() -> int:
    parser = argparse.ArgumentParser(description="Lints the prose of documents and docstrings.")
    parser.add_argument("files", nargs="*", type=Path, help="instead of all of the project")
    files = [path.resolve() for path in parser.parse_args().files] or sorted(_all())
    found = faults(files)
    for place, message, rule in found:
        print(f"{place}: {message} ({rule})")
    print(f"{len(found)} faults in {len(files)} files.")
    return 1 if found else 0


def _all() -> Iterator[Path]:
    yield from ROOT.glob("*.md")
    for folder in FOLDERS:
        found = [*(ROOT / folder).rglob("*.py"), *(ROOT / folder).rglob("*.md")]
        yield from (path for path in found if not _is_left_alone(path))


def _is_left_alone(path: Path) -> bool:
    """The yardsticks, and Markdown in the code: prompts, worded for models."""
    name = path.relative_to(ROOT).as_posix()
    is_prompt = name.startswith("backend/") and path.suffix == ".md"
    return is_prompt or (name.startswith(FROZEN) and path.suffix == ".py")


def faults(files: Iterable[Path], *, root: Path = ROOT) -> list[tuple[Place, str, str]]:
    """The place of each, what is wrong, and the rule, in the order of places."""
    named = ((path, path.relative_to(root)) for path in files)
    return sorted(
        _faults(Text(each for path, name in named for each in passages(path, named=name)))
    )


def _faults(text: Text) -> Iterator[tuple[Place, str, str]]:
    for rule in RULES:
        for found in rule.check_with_flags(text.text):
            if text.has_whole_words(*found.span):
                # A match may begin with the end of the sentence before.
                yield text.place_at(found.span[1] - 1), found.message, found.check_path
    for offset, sentence in text.sentences():
        words = len(sentence.split())
        if words > LONGEST_SENTENCE:
            yield text.place_at(offset), f"A sentence of {words} words: part it.", "lex.length"


if __name__ == "__main__":
    sys.exit(main())
