"""Quotas, their moving windows, and the verdict on a request."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from limits import RateLimitItem, parse_many


@dataclass(frozen=True, slots=True)
class Quota:
    """A number of requests in a window of time. `limit` names what is limited, say `session`."""

    limit: str
    item: RateLimitItem

    @property
    def name(self) -> str:
        """For example `session-minute` or `client-10-minute`."""
        multiples = () if self.item.multiples == 1 else (str(self.item.multiples),)
        return "-".join((self.limit, *multiples, self.item.GRANULARITY.name))


def quotas(limit: str, text: str) -> tuple[Quota, ...]:
    """Parse the quotas of a setting such as `20/minute;300/day`; none if it is empty."""
    items = parse_many(text) if text else []
    return tuple(Quota(limit, item) for item in dict.fromkeys(items))


def multiplied(quotas: Sequence[Quota], factor: int, *, limit: str) -> tuple[Quota, ...]:
    """Return the same quotas for another limit, with `factor` times as many requests."""
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
    """The time until the oldest request leaves the window, which makes room for one more."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a request is granted, and how full its windows are afterwards."""

    is_granted: bool
    standings: Sequence[Standing]

    @property
    def full(self) -> Sequence[Standing]:
        """The windows that refused the request."""
        return [] if self.is_granted else [one for one in self.standings if one.remaining <= 0]

    @property
    def retry_after(self) -> float:
        return max((standing.seconds for standing in self.full), default=0)

    @property
    def fields(self) -> dict[str, str]:
        """The response headers of draft-ietf-httpapi-ratelimit-headers-11."""
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
    """The port that each tier implements, and the combination of both."""

    async def charge(self, windows: Sequence[Window]) -> Verdict:
        """Count one request in all of the windows, or in none if one of them is full."""
        ...
