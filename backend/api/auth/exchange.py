"""`POST` and `DELETE /auth/session`: the cookie, for clients that cannot send headers."""

from datetime import datetime

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from backend.api.auth.authentication import cookie_name
from backend.api.auth.origins import is_secure
from backend.api.dependencies import StateDep

router = APIRouter(prefix="/auth", tags=["auth"])
leaving = APIRouter(prefix="/auth", tags=["auth"])
"""Routes that need no credential."""


class CookieView(BaseModel):
    """The expiry of the cookie in `Set-Cookie`; null without authentication, where none is set."""

    expires_at: datetime | None


@router.post("/session")
async def begin(request: Request, response: Response, state: StateDep) -> CookieView:
    """Exchange a credential for a cookie, which a browser's `EventSource` and `WebSocket` send."""
    response.headers["Cache-Control"] = "no-store"
    sealed = await state.authentication.exchange(request)
    if sealed is None:
        return CookieView(expires_at=None)
    response.set_cookie(
        cookie_name(request),
        sealed.value,
        max_age=sealed.seconds,
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )
    return CookieView(expires_at=sealed.expires_at)


@leaving.delete("/session", status_code=204)
async def end(request: Request, response: Response) -> None:
    """Remove the cookie from the browser. This needs no credential."""
    response.delete_cookie(
        cookie_name(request),
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )
