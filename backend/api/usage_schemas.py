"""The parts of response bodies that show what models were used and what they cost."""

from collections.abc import Iterable
from datetime import date
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field

from backend.domain.usage import PICO, ModelCall, Purpose, Spent
from backend.storage.ports.usage import DayUsage, OwnerUsage


class SpentView(BaseModel):
    """Model calls, added up: also retries, and calls that were abandoned or cut."""

    calls: int
    input_tokens: int
    cached_input_tokens: int = Field(description="The part of the input that was cached.")
    output_tokens: int
    reasoning_tokens: int = Field(description="The part of the output that was reasoning.")
    estimated_tokens: int = Field(
        description="The part of all tokens that the provider did not report."
    )
    unpriced_tokens: int = Field(
        description="The part of all tokens that belongs to models without a price."
    )
    cost_usd: float = Field(description="The cost of the calls of models with a price.")

    @classmethod
    def of(cls, spent: Spent) -> Self:
        return cls(**_spent(spent))

    @classmethod
    def sum(cls, parts: Iterable[Spent]) -> Self:
        return cls.of(sum(parts, Spent()))


def _spent(spent: Spent) -> dict[str, Any]:
    usage = spent.usage
    return {
        "calls": spent.calls,
        "input_tokens": usage.input_tokens,
        "cached_input_tokens": usage.cached_input_tokens,
        "output_tokens": usage.output_tokens,
        "reasoning_tokens": usage.reasoning_tokens,
        "estimated_tokens": spent.estimated_tokens,
        "unpriced_tokens": spent.unpriced_tokens,
        "cost_usd": spent.cost_usd,
    }


class UsageOfDay(SpentView):
    """The calls of one UTC day, for one model and purpose."""

    day: date
    model: str
    purpose: Purpose

    @classmethod
    def of_row(cls, row: DayUsage) -> Self:
        return cls(day=row.day, model=row.model, purpose=row.purpose, **_spent(row.spent))


class UsageOfOwner(SpentView):
    owner: str

    @classmethod
    def of_row(cls, row: OwnerUsage) -> Self:
        return cls(owner=row.owner, **_spent(row.spent))


class UsageReport(BaseModel):
    first: date = Field(alias="from", serialization_alias="from")
    last: date = Field(alias="to", serialization_alias="to")
    total: SpentView
    days: list[UsageOfDay]
    owners: list[UsageOfOwner] | None = Field(
        None, description="Only for operators: the owners with the most tokens, 1,000 at most."
    )

    model_config = ConfigDict(populate_by_name=True)


class CallView(BaseModel):
    """One call of a model."""

    model: str
    purpose: Purpose
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_tokens: int
    is_estimated: bool = Field(description="Whether the provider did not report the tokens.")
    cost_usd: float | None = Field(description="It is null if the model has no price.")

    @classmethod
    def of(cls, call: ModelCall) -> Self:
        return cls(
            model=call.model,
            purpose=call.purpose,
            input_tokens=call.usage.input_tokens,
            cached_input_tokens=call.usage.cached_input_tokens,
            output_tokens=call.usage.output_tokens,
            reasoning_tokens=call.usage.reasoning_tokens,
            is_estimated=call.is_estimated,
            cost_usd=None if call.cost is None else call.cost / PICO,
        )
