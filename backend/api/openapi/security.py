"""Describe authentication for OpenAPI, on the routes that require it."""

from typing import Any

from fastapi import Security
from fastapi.security import APIKeyCookie, HTTPBearer

from backend.api.openapi.problems import responses
from backend.domain.errors import IdentityUnavailable, NotAuthenticated

_BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="credential",
    description="A JSON Web Token or an API key. With a trusted key, `X-User-Id` names the user.",
)
_COOKIE = APIKeyCookie(
    auto_error=False,
    name="lex_session",
    scheme_name="cookie",
    description="Set by `POST /auth/session`. Over HTTPS its name is `__Host-lex_session`.",
)


def guarded(*, auth: str) -> dict[str, Any]:
    """Return the arguments of `include_router` for routes that take a credential or a cookie."""
    return _secured(auth, _BEARER, _COOKIE)


def exchanging(*, auth: str) -> dict[str, Any]:
    """Return the arguments of `include_router` for routes that only take a credential."""
    return _secured(auth, _BEARER)


def _secured(auth: str, *schemes: Any) -> dict[str, Any]:
    if auth == "none":
        return {}
    return {
        "dependencies": [Security(scheme) for scheme in schemes],
        "responses": responses(NotAuthenticated, IdentityUnavailable),
    }
