"""What a query must pass before it becomes a turn: the slots of its client, then the limits."""

import ipaddress
import json
from collections.abc import Mapping
from hashlib import blake2b

from starlette.requests import HTTPConnection

from backend.api.rate_limits.windows import Limits, Quota, Verdict, Window
from backend.api.stream_slots import Slots
from backend.conversation import ANONYMOUS, Caller
from backend.errors import TooManyRequests
from backend.telemetry import metrics

SLOT_RETRY_SECONDS = 5
"""Nobody knows when one of the client's streams will end."""

_MESSAGES = {
    "session": "This session has asked too often.",
    "client": "You have asked too often.",
    "streams": "You have too many streams open.",
}


class Admissions:
    """Knows who asks, and which limits are theirs."""

    def __init__(
        self,
        *,
        limits: Limits,
        slots: Slots,
        session_quotas: tuple[Quota, ...],
        client_quotas: tuple[Quota, ...],
    ) -> None:
        self._limits = limits
        self._slots = slots
        self._session_quotas = session_quotas
        self._client_quotas = client_quotas

    def of(self, caller: Caller, connection: HTTPConnection, session_id: str) -> "QueryAdmission":
        client = client_key(caller, connection)
        session = _hashed(caller.owner, session_id)
        windows = [Window(quota, session) for quota in self._session_quotas]
        windows += [Window(quota, client) for quota in self._client_quotas]
        return QueryAdmission(self._limits, self._slots, client, windows)


class QueryAdmission:
    """Of one query. Whoever is refused has spent nothing."""

    def __init__(self, limits: Limits, slots: Slots, client: str, windows: list[Window]) -> None:
        self._limits = limits
        self._slots = slots
        self._client = client
        self._windows = windows
        self.fields: Mapping[str, str] = {}
        """What the response says of the limits, once they were asked."""

    async def enter(self, turn_id: str) -> None:
        """Raises: TooManyRequests."""
        # A slot can be given back and a request cannot be taken back, so the slot comes first.
        if not await self._slots.take(self._client, turn_id):
            metrics.rate_limited("streams")
            raise TooManyRequests(_MESSAGES["streams"], retry_after=SLOT_RETRY_SECONDS)
        try:
            self._check(await self._limits.charge(self._windows))
        except BaseException:
            self.leave(turn_id)
            raise

    def _check(self, verdict: Verdict) -> None:
        self.fields = verdict.fields
        if not verdict.is_granted:
            limit = verdict.full[0].quota.limit
            metrics.rate_limited(limit)
            raise TooManyRequests(
                _MESSAGES[limit], retry_after=verdict.retry_after, fields=verdict.fields
            )

    def leave(self, turn_id: str) -> None:
        self._slots.release(self._client, turn_id)


def client_key(caller: Caller, connection: HTTPConnection) -> str:
    """A hash of whoever was authenticated, or else of the address."""
    if caller.owner != ANONYMOUS.owner:
        return _hashed("owner", caller.owner)
    return _hashed("address", _place(connection.client.host if connection.client else ""))


def _place(host: str) -> str:
    """A household has one IPv4 address, or 2^64 of IPv6."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((int(address), 64), strict=False))


def _hashed(*parts: str) -> str:
    return blake2b(json.dumps(parts).encode(), digest_size=16).hexdigest()
