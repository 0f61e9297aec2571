"""Moving windows, and how full they are."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from limits import RateLimitItem, parse_many


@dataclass(frozen=True, slots=True)
class Quota:
    """So many requests in so long a window, by one limit, such as that of the session."""

    limit: str
    item: RateLimitItem

    @property
    def name(self) -> str:
        """Such as `session-minute`, or `client-10-minute`."""
        multiples = () if self.item.multiples == 1 else (str(self.item.multiples),)
        return "-".join((self.limit, *multiples, self.item.GRANULARITY.name))


def quotas(limit: str, text: str) -> tuple[Quota, ...]:
    """The quotas of a setting such as `20/minute;300/day`. An empty one has none."""
    items = parse_many(text) if text else []
    return tuple(Quota(limit, item) for item in dict.fromkeys(items))


def multiplied(quotas: Sequence[Quota], factor: int, *, limit: str) -> tuple[Quota, ...]:
    """So many times as much in the same windows, by another limit."""
    return tuple(
        Quota(limit, type(quota.item)(quota.item.amount * factor, quota.item.multiples))
        for quota in quotas
    )


@dataclass(frozen=True, slots=True)
class Window:
    """One client's use of a quota. `key` is a hash that stands for the client."""

    quota: Quota
    key: str


@dataclass(frozen=True, slots=True)
class Standing:
    quota: Quota
    remaining: int
    seconds: float
    """Until the oldest request leaves the window, and one more is let through."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request is let through, and how full its windows are after it."""

    is_granted: bool
    standings: Sequence[Standing]

    @property
    def full(self) -> Sequence[Standing]:
        """Those that refused it."""
        return [] if self.is_granted else [one for one in self.standings if one.remaining <= 0]

    @property
    def retry_after(self) -> float:
        return max((standing.seconds for standing in self.full), default=0)

    @property
    def fields(self) -> dict[str, str]:
        """As draft-ietf-httpapi-ratelimit-headers-11 has them."""
        if not self.standings:
            return {}
        return {
            "RateLimit-Policy": ", ".join(
                f'"{one.quota.name}";q={one.quota.item.amount};w={one.quota.item.get_expiry()}'
                for one in self.standings
            ),
            "RateLimit": ", ".join(
                f'"{one.quota.name}";r={one.remaining};t={math.ceil(one.seconds)}'
                for one in self.standings
            ),
        }


class Limits(Protocol):
    """The port that both tiers, and the two together, are behind."""

    async def charge(self, windows: Sequence[Window]) -> Verdict:
        """Count one request in all of the windows, or in none if one of them is full."""
        ...
