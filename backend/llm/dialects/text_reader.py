"""Reads a completion's text while it arrives: shows ordinary text, and collects the calls in it.

Ordinary text passes at once. Possible markup is held back until its nature is clear, for at most
`MAX_HELD_CHARACTERS`. Reasoning and calls are never shown. The result does not depend on how the
text is cut into pieces.

`TextReader` is a state machine. Each state is a method, called a step, that takes one part of the
text and sets the next step.
"""

import re
from collections.abc import Callable

from backend.llm.dialects import harmony, reasoning
from backend.llm.dialects.calls import MAX_CALLS, calls_in, calls_of_block
from backend.llm.dialects.enclosed import Enclosed
from backend.llm.dialects.known_tools import KnownTools, WrittenCall
from backend.llm.dialects.openers import SUSPECT, UNDECIDED, Kind, Opener, Undecided, opener_at
from backend.llm.dialects.starts import Candidate, begins_harmony, candidate_at, may_begin

MAX_HELD_CHARACTERS = 4096
"""Longer than any real tool call. Longer JSON is an answer, and is shown."""

MAX_BLANK_CHARACTERS = 256
"""After this many blank characters, text no longer counts as the beginning of the answer."""

_BLANK = re.compile(r"\s*+")
_BETWEEN_CALLS = re.compile(r"[\s,;>]*+")
_ARGUMENTS = re.compile(r"\s*+[{\[]")
_MARK = re.compile(r"<[^<>]*+>|\[[A-Z_]++\]")

_NO_CANDIDATE = Candidate()
_NOTHING_ENCLOSED = Enclosed("", reasoning.THOUGHT_END, is_sure=True)


class TextReader:
    """Call `feed` with each piece of text, and `end` once after the last piece."""

    def __init__(self, tools: KnownTools) -> None:
        self.calls: list[WrittenCall] = []
        self.is_unread = False
        """Whether there was a call that could not be read."""
        self.has_begun = False
        """Whether there was any text, shown or not."""
        self.has_hidden = False
        """Whether anything was left out: a call, reasoning, or a single token."""
        self.has_shown = False
        self._tools = tools
        self._text = ""
        """The text that is not decided yet starts at `_at`."""
        self._at = 0
        self._gap = ""
        """The blanks before the possible markup. They are shown only if it is none."""
        self._last_shown = ""
        self._shown: list[str] = []
        self._candidate = _NO_CANDIDATE
        self._enclosed = _NOTHING_ENCLOSED
        self._is_thought = False
        self._is_plain = False
        """Whether nothing is held back, so that `feed` may take its fast path."""
        self._step: Callable[[bool], bool] = self._read_gap
        """The current state: takes one part of the text, and returns whether it made progress."""

    def feed(self, text: str) -> str:
        """Take a piece of text, and return the text that may be shown now."""
        if not text:
            return ""
        # The hot path: searching for two characters takes a third of the time of a pattern.
        if self._is_plain and "<" not in text and "[" not in text:
            self._last_shown = text
            return text
        return self._advance(text, is_end=False)

    def end(self) -> str:
        """Return the rest of the text that may be shown."""
        return self._advance("", is_end=True)

    def _advance(self, text: str, *, is_end: bool) -> str:
        self.has_begun = self.has_begun or bool(text)
        self._text += text
        while self._step(is_end):
            pass
        self._text = self._text[self._at :]
        self._at = 0
        self._is_plain = not self._text and self._step == self._read_plain
        shown = "".join(self._shown)
        self._shown.clear()
        return shown

    def _show(self, text: str) -> None:
        if text:
            self._shown.append(text)
            self._last_shown = text
            self.has_shown = True

    def _read_plain(self, is_end: bool) -> bool:  # noqa: FBT001 - a step
        for found in SUSPECT.finditer(self._text, self._at):
            opener = opener_at(self._text, found.start())
            if opener is None or (opener is UNDECIDED and is_end):
                continue  # at the end, an unfinished mark is ordinary text
            self._show(self._text[self._at : found.start()])
            self._at, self._gap = found.start(), ""
            if isinstance(opener, Undecided):
                return False
            self._open(opener)
            return True
        self._show(self._text[self._at :])
        self._at = len(self._text)
        return False

    def _read_gap(self, is_end: bool) -> bool:  # noqa: FBT001 - a step
        """Read blanks at the beginning, or after hidden text, and decide what follows them."""
        blank = _end(_BLANK, self._text, self._at)
        begin = _end(_BETWEEN_CALLS, self._text, blank) if self.calls else blank
        if self._is_long_gap(blank, begin):
            self._gap, self._at = self._text[self._at : blank], blank
            self._show_after_all("")
            return True
        if begin == len(self._text):
            return self._wait_behind_gap(is_end=is_end)
        following = self._begun_at(begin)
        is_short = len(self._text) - self._at <= MAX_HELD_CHARACTERS
        if isinstance(following, Undecided) and is_short and not is_end:
            return False
        self._gap = self._text[self._at : blank]
        match following:
            case Opener():
                self._at = begin
                self._open(following)
            case Candidate():
                self._at = begin
                self._candidate, self._step = following, self._read_candidate
            case _:
                self._at = blank
                self._show_after_all("")
        return True

    def _is_long_gap(self, blank: int, begin: int) -> bool:
        blanks = 0 if self.has_hidden else blank - self._at
        return max(blanks, begin - blank) > MAX_BLANK_CHARACTERS

    def _show_after_all(self, text: str) -> None:
        """Show text that turned out to be ordinary, with the blanks before it."""
        self._show(self._joint(self._gap) + text)
        self._gap = ""
        self._step = self._read_plain

    def _wait_behind_gap(self, *, is_end: bool) -> bool:
        gap = self._text[self._at :]
        if self.has_hidden and gap.isspace():
            # `_joint` only needs to know that there is a gap, and whether it breaks the line.
            self._text, self._at = ("\n" if "\n" in gap else " "), 0
        if is_end:
            self._show("" if self.has_hidden else gap)
            self._at = len(self._text)
        return False

    def _begun_at(self, at: int) -> Opener | Candidate | Undecided | None:
        opener = opener_at(self._text, at) if self._text[at] in "<[" else None
        if opener is not None or self.has_shown or not may_begin(self._text[at], self._tools):
            return opener
        begins = begins_harmony(self._text, at)
        if begins is True:
            return Opener(Kind.HEADER, at)
        found = candidate_at(self._text, at, self._tools) if self._tools.names else None
        return UNDECIDED if found is None and begins is UNDECIDED else found

    def _joint(self, gap: str) -> str:
        """Reduce the blanks around hidden text to a single space or line break."""
        if not self.has_hidden:
            return gap
        if not gap or not self.has_shown or self._last_shown[-1:].isspace():
            return ""
        return "\n" if "\n" in gap else " "

    def _open(self, opener: Opener) -> None:
        if opener.kind is Kind.HEADER:
            self._step = self._read_header
            return
        if opener.closer is None:
            self.has_hidden = True
            self._at = opener.end
            self._step = self._read_gap
        else:
            is_thought = opener.kind is Kind.THOUGHT
            self._enclose(opener.end, opener.closer, is_thought=is_thought, is_sure=is_thought)

    def _enclose(
        self, end: int, closer: re.Pattern[str], *, is_thought: bool, is_sure: bool
    ) -> None:
        self._enclosed = Enclosed(self._text[self._at : end], closer, is_sure=is_sure)
        self._is_thought = is_thought
        self._at = end
        self._step = self._read_enclosed

    def _read_header(self, is_end: bool) -> bool:  # noqa: FBT001 - a step
        window = self._text[self._at : self._at + harmony.MAX_HEADER_CHARACTERS]
        seen = window.find(harmony.MESSAGE)
        if seen < 0 and len(window) < harmony.MAX_HEADER_CHARACTERS and not is_end:
            return False
        header = harmony.header(window[: seen + len(harmony.MESSAGE)] if seen >= 0 else window, 0)
        end = self._at + max(1, header.end)
        if header.is_call or header.is_hidden:
            is_thought = header.is_hidden
            self._enclose(end, harmony.MESSAGE_END, is_thought=is_thought, is_sure=True)
        else:
            self._open(Opener(Kind.NOISE, end))
        return True

    def _read_candidate(self, is_end: bool) -> bool:  # noqa: FBT001 - a step
        longest = MAX_HELD_CHARACTERS
        # Some characters more, because the blanks after a candidate can decide about its end.
        text = self._text[self._at : self._at + longest + 16]
        end = self._candidate.end(text, is_all=is_end)
        if end is None and len(text) <= longest and not is_end:
            return False
        is_long = len(text) > longest if end is None else end > longest
        calls = None if is_long else self._candidate.read(text, end, self._tools)
        whole = text[: min(longest, len(text) if end is None else end)]
        self._at += len(whole)
        if calls is None:
            self._show_after_all(whole)
        else:
            self._keep(calls)
        return True

    def _read_enclosed(self, is_end: bool) -> bool:  # noqa: FBT001 - a step
        enclosed = self._enclosed
        end = enclosed.closer_end(self._text, self._at, longest=MAX_HELD_CHARACTERS)
        if end is None and not enclosed.is_sure and self._has_too_much(enclosed):
            return True
        if end is None and not is_end:
            self._at = enclosed.take_most(self._text, self._at)
            return False
        stop = len(self._text) if end is None else end
        enclosed.take(self._text[self._at : stop])
        self._at = stop
        self._close(enclosed.text, is_closed=end is not None)
        return True

    def _has_too_much(self, enclosed: Enclosed) -> bool:
        """Decide about a long text after an opener: collect more of it, or show it after all."""
        left = MAX_HELD_CHARACTERS - enclosed.taken_characters
        if len(self._text) - self._at < left:
            return False
        beginning = enclosed.text + self._text[self._at : self._at + left]
        if self._is_attempt(beginning):
            enclosed.is_sure = True
        else:
            self._show_after_all(beginning)
            self._at += left
        return True

    def _close(self, whole: str, *, is_closed: bool) -> None:
        if self._is_thought:
            # Some models forget to close their reasoning before a call. Skip the first character,
            # or the mark that opened the reasoning could itself look like the call.
            begin = None if is_closed else reasoning.calls_begin(whole[1:])
            calls = [] if begin is None else calls_in(whole[1 + begin :], self._tools)
            self._keep(calls, is_unread=False)
            return
        calls = calls_of_block(whole, self._tools)
        if calls or is_closed or self._enclosed.is_sure or self._is_attempt(whole):
            is_empty = not _MARK.sub("", whole).strip()
            self._keep(calls, is_unread=not calls and not is_empty)
        else:
            self._show_after_all(whole)

    def _keep(self, calls: list[WrittenCall], *, is_unread: bool | None = None) -> None:
        self.has_hidden = True
        self.calls += calls[: MAX_CALLS - len(self.calls)]
        self.is_unread = self.is_unread or (not calls if is_unread is None else is_unread)
        self._step = self._read_gap

    def _is_attempt(self, block: str) -> bool:
        """Whether a block without a closing mark was meant as a call."""
        behind = len(self._enclosed.opener)
        return self._tools.are_mentioned_in(block) or bool(_ARGUMENTS.match(block, behind))


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return at if found is None else found.end()


_MAY_BE_MARKUP = re.compile(
    r"<|\[(?:[T/])|\A\s*+(?:[{\[`]|to=|assistant|analysis|commentary|final|functions\.)"
)


def shown_part(text: str, tools: KnownTools) -> str:
    """Return a complete text without the markup in it."""
    if _MAY_BE_MARKUP.search(text) is None and not text.startswith(tools.names):
        return text
    reader = TextReader(tools)
    return reader.feed(text) + reader.end()
