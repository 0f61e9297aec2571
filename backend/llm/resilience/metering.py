"""Decides what a call of a model has used, whether or not the provider reported it."""

from backend.domain.errors import UpstreamError
from backend.domain.usage import Usage
from backend.llm.port import Meter

USUAL_CHARACTERS_PER_TOKEN = 4.0

FIRST_TOKENS = 500.0
"""The weight of the usual ratio against the first reports."""

REMEMBERED = 0.98
"""The share of the weight that each report leaves to those before it: about 50 calls count."""


class TokenRatio:
    """Learns how many characters make a token, over many calls.

    One call says little: its ratio depends on its language. For a sum of estimates to be right, the
    ratio must be that of the sums.
    """

    def __init__(self) -> None:
        self._tokens = FIRST_TOKENS
        self._characters = FIRST_TOKENS * USUAL_CHARACTERS_PER_TOKEN

    def learn(self, characters: int, tokens: int) -> None:
        """Take a report. Ignores one without tokens or without characters."""
        if characters > 0 and tokens > 0:
            self._characters = self._characters * REMEMBERED + characters
            self._tokens = self._tokens * REMEMBERED + tokens

    def tokens(self, characters: int) -> int:
        return round(characters * self._tokens / self._characters)


class Metering:
    """Knows the ratios of one model, apart for input and output."""

    def __init__(self) -> None:
        self._input = TokenRatio()
        self._output = TokenRatio()

    def used(
        self, meter: Meter, sent_characters: int, error: BaseException | None
    ) -> tuple[Usage, bool] | None:
        """Return the usage of a call that has ended, and whether it is estimated.

        None if the call cost nothing, because the provider refused it or was not reached.
        """
        if meter.usage is not None:
            self._input.learn(sent_characters, meter.usage.input_tokens)
            self._output.learn(meter.written_characters, meter.usage.output_tokens)
            return meter.usage, False
        if not meter.is_accepted and _cost_nothing(error):
            return None
        written = self._output.tokens(meter.written_characters)
        return Usage(self._input.tokens(sent_characters), written), True


def _cost_nothing(error: BaseException | None) -> bool:
    """Whether a call that got no response was free.

    A silent provider may have worked on it, and so may one whose caller has left.
    """
    return isinstance(error, UpstreamError) and not error.is_silence
