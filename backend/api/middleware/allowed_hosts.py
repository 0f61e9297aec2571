"""Refuse requests with a foreign `Host` header (`ALLOWED_HOSTS`), against DNS rebinding."""

from collections.abc import Sequence
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from backend.api.problem_details import can_deny, problem
from backend.api.refusals import request_refused
from backend.domain.errors import WrongHost
from backend.network.exposure import STATE_KEY, Exposure
from backend.network.host_names import Host, HostPattern

PROBES = ("/health", "/livez", "/readyz")
"""Exempt, because an orchestrator probes a pod by its address."""

_DEFAULT_PORTS = {"https": 443, "wss": 443}


class AllowedHosts:
    """Refuses hosts that are not in the list. Probes and the metrics port may use any host.

    Without a list, a server that listens on loopback addresses only accepts loopback names, and
    other servers accept every host.
    """

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str], metrics_port: int | None) -> None:
        self._app = app
        self._patterns = [HostPattern.read(host) for host in hosts]
        self._metrics_port = metrics_port

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._is_exempt(scope) or self._allows(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http" or can_deny(scope):
            answer = problem(WrongHost.status, code=WrongHost.code, detail=WrongHost.message)
            await answer(scope, receive, send)
        else:
            request_refused(WrongHost.code, status=WrongHost.status)
            await WebSocketClose()(scope, receive, send)

    def _is_exempt(self, scope: Scope) -> bool:
        _, port = scope.get("server") or (None, None)
        is_metrics = self._metrics_port is not None and port == self._metrics_port
        return is_metrics or (scope["type"] == "http" and scope["path"] in PROBES)

    def _allows(self, scope: Scope) -> bool:
        exposure = scope.get("state", {}).get(STATE_KEY, Exposure.UNKNOWN)
        if not self._patterns and exposure is not Exposure.LOOPBACK:
            return True
        host = _host_of(scope)
        if not self._patterns:
            return host is not None and host.is_loopback
        if host is None:
            return any(pattern.is_any for pattern in self._patterns)
        port = _DEFAULT_PORTS.get(scope["scheme"], 80)
        return any(pattern.fits(host, default_port=port) for pattern in self._patterns)


def _host_of(scope: Scope) -> Host | None:
    """None if the header is missing, as HTTP/1.0 allows, or repeated."""
    given = [value for name, value in scope["headers"] if name == b"host"]
    return _read(given[0]) if len(given) == 1 else None


@lru_cache(maxsize=64)
def _read(host: bytes) -> Host | None:
    return Host.read(host.decode("latin-1"))
