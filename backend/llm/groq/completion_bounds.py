"""Size limits of one completion, which stop a runaway model."""

from dataclasses import dataclass

ENVELOPE_BYTES = 65_536
"""Allowed size of a frame apart from its text. Real frames have about 300 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionBounds:
    """Limits in bytes of UTF-8.

    `max_argument_bytes` limits the arguments of one call. `max_completion_bytes` limits the sum of
    all text, reasoning, names and arguments.
    """

    max_tool_calls: int = 16
    max_argument_bytes: int = 65_536
    max_completion_bytes: int = 1_048_576

    @property
    def max_line_bytes(self) -> int:
        """Room for a whole completion in one frame. JSON escapes double the size of most text."""
        return 2 * self.max_completion_bytes + ENVELOPE_BYTES
