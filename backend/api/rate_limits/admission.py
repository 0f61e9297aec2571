"""Admit queries and new sessions.

A query first needs a free slot of its client, then room in the rate limits. Sessions that are
created without a query have rate limits of their own.
"""

from collections.abc import Callable, Mapping, Sequence

from starlette.requests import HTTPConnection

from backend.api.budgets.budgets import Budgets, TurnBudget
from backend.api.rate_limits.client_slots import ClientSlots
from backend.api.rate_limits.clients import NETWORK_CLIENTS, Client, client_of, hashed
from backend.api.rate_limits.windows import Limits, Quota, Verdict, Window, multiplied
from backend.domain.conversation import Caller
from backend.domain.errors import TooManyRequests
from backend.domain.usage import ModelCall
from backend.telemetry import metrics

_MESSAGES = {
    "session": "This session has sent too many queries. Try again later.",
    "client": "You have sent too many queries. Try again later.",
    "network": "Your network has sent too many queries. Try again later.",
    "sessions": "You have created too many sessions. Try again later.",
}


class Admissions:
    """Creates admissions with the limits that apply to the client."""

    def __init__(
        self,
        *,
        limits: Limits,
        slots: ClientSlots,
        session_quotas: tuple[Quota, ...],
        client_quotas: tuple[Quota, ...],
        new_session_quotas: tuple[Quota, ...] = (),
        budgets: Budgets,
        shared_fault: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._limits = limits
        self._slots = slots
        self._budgets = budgets
        self._session_quotas = session_quotas
        self._client_quotas = client_quotas
        self.shared_fault = shared_fault
        """Returns why workers count apart although Redis is configured; None if they do not."""
        self._network_quotas = multiplied(client_quotas, NETWORK_CLIENTS, limit="network")
        self._new_session_quotas = new_session_quotas
        self._networks_new_session_quotas = multiplied(
            new_session_quotas, NETWORK_CLIENTS, limit="sessions-of-network"
        )

    async def make_session(self, caller: Caller, connection: HTTPConnection) -> Mapping[str, str]:
        """Count a new session; return the `RateLimit` headers. Raises: TooManyRequests."""
        client = client_of(caller, connection)
        windows = [Window(quota, client.key) for quota in self._new_session_quotas]
        if client.network is not None:
            quotas = self._networks_new_session_quotas
            windows += [Window(quota, client.network) for quota in quotas]
        verdict = await self._limits.charge(windows)
        if not verdict.is_granted:
            raise _refusal(verdict, limit="sessions")
        return verdict.fields

    def of(self, caller: Caller, connection: HTTPConnection, session_id: str) -> "QueryAdmission":
        client = client_of(caller, connection)
        session = hashed(caller.owner, session_id)
        windows = [Window(quota, session) for quota in self._session_quotas]
        windows += [Window(quota, client.key) for quota in self._client_quotas]
        if client.network is not None:
            windows += [Window(quota, client.network) for quota in self._network_quotas]
        budget = self._budgets.of(caller, connection, client=client, session=session)
        return QueryAdmission(self._limits, self._slots, client, windows, budget)


class QueryAdmission:
    """The admission of one query. A query over a limit counts against none."""

    def __init__(
        self,
        limits: Limits,
        slots: ClientSlots,
        client: Client,
        windows: list[Window],
        budget: TurnBudget,
    ) -> None:
        self._limits = limits
        self._slots = slots
        self._windows = windows
        self._budget = budget
        self.client = client
        self.fields: Mapping[str, str] = {}
        """The `RateLimit` headers of the response; empty until `enter` has checked the limits."""
        self._entered: str | None = None

    async def enter(self, turn_id: str) -> None:
        """Take a slot, reserve the budget, and count the query.

        Raises: TooManyRequests, BudgetExhausted, StorageError.
        """
        # The count comes last: slot and reservation can be given back, but a count cannot.
        await self._slots.take(self.client, turn_id)
        try:
            await self._budget.reserve(turn_id)
            self._check(await self._limits.charge(self._windows))
        except BaseException:  # includes cancellation: the slot above is already taken
            self.leave(turn_id)
            await self._budget.settle(turn_id, ())
            raise
        self._entered = turn_id

    def is_of(self, turn_id: str) -> bool:
        """Whether the query has started this turn; otherwise it has joined an existing one."""
        return turn_id == self._entered

    def _check(self, verdict: Verdict) -> None:
        self.fields = verdict.fields
        if not verdict.is_granted:
            raise _refusal(verdict, limit=verdict.full[0].quota.limit)

    async def settle(self, turn_id: str, calls: Sequence[ModelCall]) -> None:
        await self._budget.settle(turn_id, calls)

    def leave(self, turn_id: str) -> None:
        self._slots.release(self.client, turn_id)


def _refusal(verdict: Verdict, *, limit: str) -> TooManyRequests:
    metrics.rate_limited(limit)
    return TooManyRequests(
        _MESSAGES[limit],
        retry_after=verdict.retry_after,
        limit=limit,
        fields=verdict.fields,
    )
