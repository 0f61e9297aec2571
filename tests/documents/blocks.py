"""The fenced blocks of the documents, and the commands of a console session."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from tests.documents.markdown import DOCUMENTS

_FENCED = re.compile(
    r"^(?P<indent> *)```(?P<kind>\S*)[^\n]*\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """`line` is the line of its first line of text. `before` is the prose that leads to it."""

    document: str
    line: int
    kind: str
    text: str
    before: str = ""

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


@dataclass(frozen=True)
class Command:
    """A command as a reader types it, and the output that the document shows."""

    document: str
    line: int
    text: str
    output: str

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


def blocks_of(document: str) -> list[Block]:
    text = DOCUMENTS[document]
    found, end = [], 0
    for match in _FENCED.finditer(text):
        inside = re.sub(rf"^{match['indent']}", "", match["text"], flags=re.MULTILINE)
        line = text.count("\n", 0, match.start("text")) + 1
        before = text[end : match.start()].strip()
        found.append(Block(document, line, match["kind"], inside, before))
        end = match.end()
    return found


def commands_of(block: Block) -> Iterator[Command]:
    """Each `$ ` begins a command, which goes on while a line ends with `\\` or a quote is open.

    Raises: ValueError, if the block begins with output.
    """
    lines = block.text.splitlines(keepends=True)
    if not lines or not lines[0].startswith("$ "):
        raise ValueError(f"{block.place}: a console block begins with `$ ` and a command")
    position = 0
    while position < len(lines):
        begun, text = position, lines[position].removeprefix("$ ")
        position += 1
        while position < len(lines) and _goes_on(text):
            text += lines[position]
            position += 1
        output = ""
        while position < len(lines) and not lines[position].startswith("$ "):
            output += lines[position]
            position += 1
        # An empty line parts the output from the next command.
        yield Command(block.document, block.line + begun, text.rstrip("\n"), output.rstrip("\n"))


def _goes_on(text: str) -> bool:
    if text.endswith("\\\n"):
        return True
    try:
        shlex.split(text, comments=True)
    except ValueError:
        return True
    return False
