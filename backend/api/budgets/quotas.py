"""The budgets in the settings: an amount of tokens or USD in a window of time."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from backend.domain.usage import PICO

Kind = Literal["session_tokens", "client_tokens", "client_cost"]

_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_BUDGET = re.compile(r"(\d+(?:\.\d+)?) ?/ ?(?:(\d{1,4}) ?)?(second|minute|hour|day)s?")


@dataclass(frozen=True, slots=True)
class BudgetQuota:
    """`limit` is in tokens, or in units of `1 / PICO` USD."""

    kind: Kind
    limit: int
    seconds: int


def budgets(kind: Kind, text: str) -> tuple[BudgetQuota, ...]:
    """Parse a setting such as `100000/day;20000/hour`; none if it is empty."""
    found = (_BUDGET.fullmatch(part.strip()) for part in text.split(";") if part.strip())
    return tuple(
        BudgetQuota(kind, _limit(kind, match[1]), int(match[2] or 1) * _UNITS[match[3]])
        for match in found
        if match
    )


def _limit(kind: Kind, amount: str) -> int:
    return int(Decimal(amount) * PICO) if kind == "client_cost" else int(amount)
