"""Converts between model calls, their sums, and the plain values that SQL stores."""

from collections.abc import Iterable, Sequence
from typing import Any

from backend.domain.usage import ModelCall, Spent, Usage


def columns_of(spent: Spent) -> dict[str, int]:
    return {
        "calls": spent.calls,
        "input_tokens": spent.usage.input_tokens,
        "output_tokens": spent.usage.output_tokens,
        "cached_input_tokens": spent.usage.cached_input_tokens,
        "reasoning_tokens": spent.usage.reasoning_tokens,
        "estimated_tokens": spent.estimated_tokens,
        "unpriced_tokens": spent.unpriced_tokens,
        "cost": spent.cost,
    }


def spent_in(columns: Any) -> Spent:
    """The reverse of `columns_of`; nothing for None."""
    if columns is None:
        return Spent()
    usage = Usage(
        columns["input_tokens"],
        columns["output_tokens"],
        columns["cached_input_tokens"],
        columns["reasoning_tokens"],
    )
    return Spent(
        calls=columns["calls"],
        usage=usage,
        estimated_tokens=columns["estimated_tokens"],
        unpriced_tokens=columns["unpriced_tokens"],
        cost=columns["cost"],
    )


def added(columns: Any, calls: Iterable[ModelCall]) -> dict[str, int]:
    """Return the stored sum with more calls in it."""
    return columns_of(sum(map(Spent.of, calls), spent_in(columns)))


def entry_of(call: ModelCall) -> dict[str, Any]:
    """A call as it is stored with its turn."""
    return {
        "model": call.model,
        "purpose": call.purpose,
        "input_tokens": call.usage.input_tokens,
        "output_tokens": call.usage.output_tokens,
        "cached_input_tokens": call.usage.cached_input_tokens,
        "reasoning_tokens": call.usage.reasoning_tokens,
        "is_estimated": call.is_estimated,
        "cost": call.cost,
    }


def calls_in(entries: Sequence[Any] | None) -> tuple[ModelCall, ...]:
    return tuple(
        ModelCall(
            model=entry["model"],
            purpose=entry["purpose"],
            usage=Usage(
                entry["input_tokens"],
                entry["output_tokens"],
                entry["cached_input_tokens"],
                entry["reasoning_tokens"],
            ),
            is_estimated=entry["is_estimated"],
            cost=entry["cost"],
        )
        for entry in entries or ()
    )
