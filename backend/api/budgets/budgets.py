"""Admits turns by budgets of tokens and cost: one completion is reserved, the real use is settled.

The reservation holds the place of a turn that runs. Its later completions count without a refusal,
so 200 queries at once overspend a budget by about one turn.
"""

import ipaddress
from collections.abc import Callable, Sequence

import structlog
from starlette.requests import HTTPConnection

from backend.api.budgets.quotas import BudgetQuota, Kind
from backend.api.rate_limits.clients import NETWORK_CLIENTS, Client
from backend.domain.conversation import ANONYMOUS, Caller
from backend.domain.errors import BudgetExhausted, StorageError
from backend.domain.usage import ModelCall
from backend.storage.ports.budgets import Amount, Budget, BudgetStore
from backend.telemetry import metrics

logger = structlog.get_logger()

NEWEST_SHARE = 0.2
"""The weight of the newest completion in the moving averages."""

_MESSAGES = {
    "session_tokens": "This session has used up its budget of tokens.",
    "client_tokens": "You have used up your budget of tokens.",
    "client_cost": "You have used up your budget.",
}


class Budgets:
    """All budgets of a worker.

    `anonymous` are the budgets of anonymous callers of other machines. `cost_of` also tells the
    cost of a call without a price, so that no model is free by omission. A completion is assumed to
    be like `typical` until others have shown what they take.
    """

    def __init__(
        self,
        store: BudgetStore,
        quotas: Sequence[BudgetQuota],
        *,
        anonymous: Sequence[BudgetQuota] = (),
        expires_seconds: float,
        cost_of: Callable[[ModelCall], int],
        typical: ModelCall,
    ) -> None:
        self._store = store
        self._quotas = tuple(quotas)
        self._anonymous = tuple(anonymous)
        self._expires_seconds = expires_seconds
        self._cost_of = cost_of
        self._tokens = float(typical.usage.total_tokens)
        self._cost = float(cost_of(typical))

    def of(
        self, caller: Caller, connection: HTTPConnection, *, client: Client, session: str
    ) -> "TurnBudget":
        quotas = self._quotas
        if caller.owner == ANONYMOUS.owner and _is_remote(connection):
            quotas += self._anonymous
        return TurnBudget(
            self, [each for quota in quotas for each in _kept(quota, client, session)]
        )

    async def reserve(self, turn_id: str, budgets: Sequence[tuple[Kind, Budget]]) -> None:
        """Raises: BudgetExhausted, StorageError."""
        amounts = [Amount(budget, self._estimate(kind)) for kind, budget in budgets]
        full = await self._store.reserve(turn_id, amounts, expires_seconds=self._expires_seconds)
        if not full:
            return
        latest = max(full, key=lambda each: each.seconds)
        kind = next(kind for kind, budget in budgets if budget == latest.budget)
        metrics.budget_exhausted(kind)
        raise BudgetExhausted(_MESSAGES[kind], retry_after=latest.seconds, limit=kind)

    async def settle(
        self, turn_id: str, budgets: Sequence[tuple[Kind, Budget]], calls: Sequence[ModelCall]
    ) -> None:
        """Count what the turn used. A store that fails is logged: the reservation then expires."""
        tokens = sum(call.usage.total_tokens for call in calls)
        cost = sum(map(self._cost_of, calls))
        if calls:
            self._tokens += NEWEST_SHARE * (tokens / len(calls) - self._tokens)
            self._cost += NEWEST_SHARE * (cost / len(calls) - self._cost)
        amounts = [
            Amount(budget, cost if kind == "client_cost" else tokens) for kind, budget in budgets
        ]
        try:
            await self._store.settle(turn_id, amounts)
        except StorageError as error:
            logger.warning("budget_not_settled", turn=turn_id, error=str(error))

    def _estimate(self, kind: Kind) -> int:
        return round(self._cost if kind == "client_cost" else self._tokens)


class TurnBudget:
    """The budgets of one query."""

    def __init__(self, budgets: Budgets, kept: Sequence[tuple[Kind, Budget]]) -> None:
        self._budgets = budgets
        self._kept = kept
        self._is_reserved = False

    async def reserve(self, turn_id: str) -> None:
        """Reserve one completion. Raises: BudgetExhausted, StorageError."""
        if self._kept:
            await self._budgets.reserve(turn_id, self._kept)
            self._is_reserved = True

    async def settle(self, turn_id: str, calls: Sequence[ModelCall]) -> None:
        """Count what the turn used instead of the reservation. Has an effect once."""
        if self._is_reserved:
            self._is_reserved = False
            await self._budgets.settle(turn_id, self._kept, calls)


def _kept(quota: BudgetQuota, client: Client, session: str) -> list[tuple[Kind, Budget]]:
    kind, limit, seconds = quota.kind, quota.limit, quota.seconds
    whose = session if kind == "session_tokens" else client.key
    kept = [(kind, Budget(f"{kind}:{seconds}:{whose}", limit, seconds))]
    if kind != "session_tokens" and client.network is not None:
        network = f"{kind}:{seconds}:{client.network}"
        kept.append((kind, Budget(network, limit * NETWORK_CLIENTS, seconds)))
    return kept


def _is_remote(connection: HTTPConnection) -> bool:
    """Whether the client is on another machine: a developer alone needs no budget."""
    host = connection.client.host if connection.client else ""
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:  # a Unix socket
        return False
