"""How much one completion may bring. A model that runs away is cut off, whatever it writes."""

from dataclasses import dataclass

ENVELOPE_BYTES = 65_536
"""What a frame may have around the text in it; real ones have some 300."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionBounds:
    """`max_argument_bytes` is for the arguments of one call, `max_completion_bytes` for all text,
    reasoning, names and arguments together, in UTF-8.
    """

    max_tool_calls: int = 16
    max_argument_bytes: int = 65_536
    max_completion_bytes: int = 1_048_576

    @property
    def max_line_bytes(self) -> int:
        """A whole completion may come in one frame, and JSON escapes double most scripts."""
        return 2 * self.max_completion_bytes + ENVELOPE_BYTES
