"""Admits a query before it becomes a turn: first by the slots of its client, then by the limits. A
session that is made without a query has limits of its own.
"""

from collections.abc import Callable, Mapping

from starlette.requests import HTTPConnection

from backend.api.rate_limits.client_slots import ClientSlots
from backend.api.rate_limits.clients import NETWORK_CLIENTS, Client, client_of, hashed
from backend.api.rate_limits.windows import Limits, Quota, Verdict, Window, multiplied
from backend.domain.conversation import Caller
from backend.domain.errors import TooManyRequests
from backend.telemetry import metrics

_MESSAGES = {
    "session": "This session has asked too often.",
    "client": "You have asked too often.",
    "network": "Your network has asked too often.",
    "sessions": "You have made too many sessions.",
}


class Admissions:
    """Knows who asks, and which limits are theirs."""

    def __init__(
        self,
        *,
        limits: Limits,
        slots: ClientSlots,
        session_quotas: tuple[Quota, ...],
        client_quotas: tuple[Quota, ...],
        new_session_quotas: tuple[Quota, ...] = (),
        shared_fault: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._limits = limits
        self._slots = slots
        self._session_quotas = session_quotas
        self._client_quotas = client_quotas
        self.shared_fault = shared_fault
        """Says why workers count apart, though they should count together."""
        self._network_quotas = multiplied(client_quotas, NETWORK_CLIENTS, limit="network")
        self._new_session_quotas = new_session_quotas
        self._networks_new_session_quotas = multiplied(
            new_session_quotas, NETWORK_CLIENTS, limit="sessions-of-network"
        )

    async def make_session(self, caller: Caller, connection: HTTPConnection) -> Mapping[str, str]:
        """Count a session that is made without a query. Returns what the response says of it.

        Raises: TooManyRequests.
        """
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
        return QueryAdmission(self._limits, self._slots, client, windows)


class QueryAdmission:
    """The admission of one query. A refused one has spent nothing."""

    def __init__(
        self, limits: Limits, slots: ClientSlots, client: Client, windows: list[Window]
    ) -> None:
        self._limits = limits
        self._slots = slots
        self._windows = windows
        self.client = client
        self.fields: Mapping[str, str] = {}
        """Headers for the response about the limits, once they were asked."""
        self._entered: str | None = None

    async def enter(self, turn_id: str) -> None:
        """Raises: TooManyRequests."""
        # A slot can be given back and a request cannot be taken back, so the slot comes first.
        await self._slots.take(self.client, turn_id)
        try:
            self._check(await self._limits.charge(self._windows))
        except BaseException:
            self.leave(turn_id)
            raise
        self._entered = turn_id

    def is_of(self, turn_id: str) -> bool:
        """Whether the query has become this turn; otherwise it has joined that of another."""
        return turn_id == self._entered

    def _check(self, verdict: Verdict) -> None:
        self.fields = verdict.fields
        if not verdict.is_granted:
            raise _refusal(verdict, limit=verdict.full[0].quota.limit)

    def leave(self, turn_id: str) -> None:
        self._slots.release(self.client, turn_id)


def _refusal(verdict: Verdict, *, limit: str) -> TooManyRequests:
    metrics.rate_limited(limit)
    return TooManyRequests(_MESSAGES[limit], retry_after=verdict.retry_after, fields=verdict.fields)
