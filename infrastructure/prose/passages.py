"""Prose as it stands in files: the paragraphs of Markdown, and docstrings and comments of Python.

Code inside a sentence becomes a placeholder, so that rules see a noun where a reader sees one.
"""

import ast
import io
import re
import tokenize
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, groupby, pairwise
from pathlib import Path


@dataclass(frozen=True)
class Line:
    number: int
    text: str


@dataclass(frozen=True, order=True)
class Place:
    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


Passage = list[tuple[str, Place]]
"""The words of a paragraph, a list item or a table's cell, each with its place."""


class Text:
    """The passages of many files, a line each, for rules that look at everything at once.

    A line with a dot parts two passages, so that no rule reads on from one to the next.
    """

    def __init__(self, passages: Iterable[Passage]) -> None:
        self._starts: list[int] = []
        self._places: list[Place] = []
        parts, length = ["·\n"], 2
        for passage in passages:
            for word, place in passage:
                self._starts.append(length)
                self._places.append(place)
                parts.append(f"{word} ")
                length += len(word) + 1
            parts.append("\n·\n")
            length += 3
        self.text = "".join(parts)

    def place_at(self, offset: int) -> Place:
        """Where the word stands that has this offset in the text."""
        return self._places[bisect_right(self._starts, offset) - 1]

    def has_whole_words(self, start: int, end: int) -> bool:
        """Whether a span neither begins nor ends inside a word.

        proselint 0.16 finds the words of its lists inside longer ones: "cat" in "education".
        """
        return not any(self.text[at - 1 : at + 1].isalnum() for at in (start, end))

    def sentences(self) -> Iterator[tuple[int, str]]:
        """Each sentence with its offset in the text. A colon or a semicolon ends one, too."""
        ends = [end.end() for end in re.finditer(r"[.?!:;][\")]?\s+(?=[A-Z\"(])|\n", self.text)]
        for start, end in pairwise([*ends, len(self.text)]):
            yield start, self.text[start:end]


def passages(path: Path, *, named: Path) -> Iterator[Passage]:
    """The passages of a file, by its suffix: `.md` or `.py`. `named` is its path in a message."""
    source = path.read_text()
    blocks = _markdown(source) if path.suffix == ".md" else _python(source)
    for block in blocks:
        for lines in _paragraphs(block):
            yield [
                (word, Place(named, line.number))
                for line in lines
                for word in _plain(line.text).split()
            ]


def _markdown(source: str) -> Iterator[list[Line]]:
    source = _blanked(r"^ *(```|~~~).*?^ *\1", source)
    source = _blanked(r"<!--.*?-->", source)
    for number, text in enumerate(source.splitlines(), 1):
        if text.startswith("|"):
            for cell in re.split(r"(?<!\\)\|", text):
                yield [Line(number, cell)]
    outside = [Line(n, text) for n, text in enumerate(source.splitlines(), 1)]
    yield [Line(n.number, "") if n.text.startswith(("|", "#")) else n for n in outside]


def _python(source: str) -> Iterator[list[Line]]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                last = node.end_lineno or node.lineno
                text = source.splitlines()[node.lineno - 1 : last]
                block = "\n".join(text).strip().removeprefix("r").strip('"')
                yield [Line(node.lineno + n, line) for n, line in enumerate(block.split("\n"))]
    yield from _comments(source)


def _comments(source: str) -> Iterator[list[Line]]:
    """Comments that stand on lines of their own, consecutive lines as one block."""
    lines = source.splitlines()
    found = [
        Line(token.start[0], token.string[1:])
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and lines[token.start[0] - 1].lstrip()[:2] == "# "
    ]
    for _, block in groupby(enumerate(found), key=lambda each: each[1].number - each[0]):
        yield [line for _, line in block]


def _paragraphs(block: list[Line]) -> Iterator[list[Line]]:
    """Parted by empty lines, and before each item of a list and each `Raises:` or `name: …`."""
    paragraph: list[Line] = []
    for line in block:
        begins = re.match(r"\s*([-*>]|\d+\.)\s|\s*[A-Za-z_]+:(\s|$)", line.text)
        if paragraph and (begins or not line.text.strip()):
            yield paragraph
            paragraph = []
        paragraph.append(line)
    yield paragraph


def _plain(text: str) -> str:
    """A line without code, markup, addresses of links, and the mark of a list item. A line of a
    drawing is empty.
    """
    if re.search("[─│├└]", text):
        return ""
    text = re.sub(r"^\s*([-*>]|\d+\.)\s+", "", text)
    numbers = count(1)  # or two names in a row would look like a word that is repeated
    text = re.sub(r"`+[^`]*`+", lambda _: f"Code{next(numbers)}", text)
    text = re.sub(r"\[(?:What|Who) [^]]*\]\([^)]*\)", "Title", text)  # the name of a section
    text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", text)
    return re.sub(r"https?://\S+|<[^>]+>|[*_]{1,2}(?=\w)|(?<=\w)[*_]{1,2}|\\", "", text)


def _blanked(pattern: str, source: str) -> str:
    """The source with all that matches taken out, and its lines kept."""
    return re.sub(
        pattern, lambda found: "\n" * found[0].count("\n"), source, flags=re.MULTILINE | re.DOTALL
    )
