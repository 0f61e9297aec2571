"""The title of a session that nobody has given one: its first question, shortened."""

import unicodedata

TITLE_CHARACTERS = 60
"""The most characters of a title that comes from a question."""

MOST_CHARACTERS = 4000
"""A question may be long, and begin with many blanks."""

_ELLIPSIS = "…"
_CONTROL = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " ")
_FLAG_HALVES = "".join(map(chr, range(0x1F1E6, 0x1F200)))
"""The regional indicators. Two of them are a flag."""
_JOINER = "\N{ZERO WIDTH JOINER}"
_VIRAMA = 9
"""The combining class of the signs that join two letters of Indic scripts."""


def title_of(question: str | None) -> str | None:
    """Return the question in one line, shortened if need be; None if there is nothing to see.

    It need not be whole: `MOST_CHARACTERS` of its beginning are enough.
    """
    line = " ".join((question or "").translate(_CONTROL).split())
    is_seen = any(unicodedata.category(each) not in ("Cf", "Zs") for each in line)
    return shortened(line, TITLE_CHARACTERS) if is_seen else None


def shortened(text: str, most: int) -> str:
    """Return at most that many characters, cut between two words if they are not too long."""
    if len(text) <= most:
        return text
    room = most - len(_ELLIPSIS)
    end = text.rfind(" ", 0, room + 1)
    if end <= room // 2:
        end = next((at for at in range(room, 0, -1) if _is_boundary(text, at)), room)
    return text[:end] + _ELLIPSIS


def _is_boundary(text: str, at: int) -> bool:
    """Whether a cut here leaves whole all that a reader sees as one character.

    This is the rule of Unicode (UAX 29) without its rarest cases.
    """
    before, after = text[at - 1], text[at]
    if before == _JOINER or _extends(after):
        return False
    if unicodedata.combining(before) == _VIRAMA and unicodedata.category(after) == "Lo":
        return False
    if _is_flag_half(before) and _is_flag_half(after):
        halves = len(text[:at]) - len(text[:at].rstrip(_FLAG_HALVES))
        return halves % 2 == 0
    return not (_is_jamo(before) and (_is_jamo(after) or _is_syllable(after)))


def _is_flag_half(character: str) -> bool:
    return character in _FLAG_HALVES


def _extends(character: str) -> bool:
    return (
        unicodedata.category(character) in ("Mn", "Mc", "Me")
        or character in "\u200c\u200d\u0e33\u0eb3\uff9e\uff9f"
        or "\U0001f3fb" <= character <= "\U0001f3ff"  # colours of skin
        or "\U000e0020" <= character <= "\U000e007f"  # tags, as in the flag of Scotland
        or "\u1160" <= character <= "\u11ff"  # vowels and ends of Korean syllables
        or "\ud7b0" <= character <= "\ud7ff"
    )


def _is_jamo(character: str) -> bool:
    """Whether this begins a Korean syllable that is written in parts."""
    return "\u1100" <= character <= "\u115f" or "\ua960" <= character <= "\ua97c"


def _is_syllable(character: str) -> bool:
    return "\uac00" <= character <= "\ud7a3"
