"""Prices of Groq's models, in US dollars for a million tokens."""

from dataclasses import dataclass

MILLION = 1_000_000


@dataclass(frozen=True)
class Price:
    input_usd: float
    output_usd: float

    def of(self, *, input_tokens: int, output_tokens: int) -> float:
        return (input_tokens * self.input_usd + output_tokens * self.output_usd) / MILLION


# As listed in 2026-11. Cached input costs half, but the stream does not say what was cached.
PRICES = {
    "openai/gpt-oss-120b": Price(0.15, 0.60),
    "openai/gpt-oss-safeguard-20b": Price(0.075, 0.30),
}


def most_it_cost(model: str, *, input_tokens: int, output_tokens: int) -> float | None:
    """The maximum price of a call, or None for an unknown model."""
    price = PRICES.get(model)
    if price is None:
        return None
    return price.of(input_tokens=input_tokens, output_tokens=output_tokens)
