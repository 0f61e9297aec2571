"""Authentication as OpenAPI has it: on the routes that ask for it, and nowhere else."""

from typing import Any

from fastapi import Security
from fastapi.security import APIKeyCookie, HTTPBearer

from backend.api.openapi.problems import responses
from backend.domain.errors import IdentityUnavailable, NotAuthenticated

_BEARER = HTTPBearer(
    auto_error=False,
    scheme_name="credential",
    description="A JSON Web Token or an API key. With a trusted key, `X-User-Id` says for whom.",
)
_COOKIE = APIKeyCookie(
    auto_error=False,
    name="lex_session",
    scheme_name="cookie",
    description="From `POST /auth/session`; over https its name begins with `__Host-`.",
)


def guarded(*, auth: str) -> dict[str, Any]:
    """For `include_router`: either the credential or the cookie."""
    return _secured(auth, _BEARER, _COOKIE)


def exchanging(*, auth: str) -> dict[str, Any]:
    """The same where only the credential will do."""
    return _secured(auth, _BEARER)


def _secured(auth: str, *schemes: Any) -> dict[str, Any]:
    if auth == "none":
        return {}
    return {
        "dependencies": [Security(scheme) for scheme in schemes],
        "responses": responses(NotAuthenticated, IdentityUnavailable),
    }
