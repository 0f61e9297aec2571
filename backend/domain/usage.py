"""Tokens and their cost: of one call of a model, and added up."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, Self

Purpose = Literal["turn", "summary", "front_end"]
"""The reason for a call: to answer a customer, to summarise a session, or to serve a request that a
front end makes on its own, such as one for a title. Those turns are not stored."""

PICO = 10**12
"""Costs are integers of 10⁻¹² USD, so that sums are exact. A price of 0.075 USD per million tokens
is 75,000 of them per token."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of model calls.

    Cached tokens are part of the input, and reasoning tokens are part of the output.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Self) -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_input_tokens + other.cached_input_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """One call of a model that the provider accepted.

    `model` is the configured name. `usage` is estimated if the provider did not report it, because
    the call was abandoned, cut or failed. `cost` is in units of `1 / PICO` USD; None without a
    price.
    """

    model: str
    purpose: Purpose
    usage: Usage
    is_estimated: bool = False
    cost: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """The sum of model calls. `cost` is that of the calls with a price."""

    calls: int = 0
    usage: Usage = Usage()
    estimated_tokens: int = 0
    """How many of the tokens are estimated."""
    unpriced_tokens: int = 0
    """How many of the tokens belong to models without a price."""
    cost: int = 0

    @classmethod
    def of(cls, call: ModelCall) -> Self:
        tokens = call.usage.total_tokens
        return cls(
            calls=1,
            usage=call.usage,
            estimated_tokens=tokens if call.is_estimated else 0,
            unpriced_tokens=tokens if call.cost is None else 0,
            cost=call.cost or 0,
        )

    @property
    def cost_usd(self) -> float:
        return self.cost / PICO

    def __add__(self, other: Self) -> "Spent":
        return replace(
            self,
            calls=self.calls + other.calls,
            usage=self.usage + other.usage,
            estimated_tokens=self.estimated_tokens + other.estimated_tokens,
            unpriced_tokens=self.unpriced_tokens + other.unpriced_tokens,
            cost=self.cost + other.cost,
        )


def spent_by(calls: Iterable[ModelCall]) -> Spent:
    return sum(map(Spent.of, calls), Spent())
