"""Find the caller of a request or WebSocket, by its credential or its cookie."""

from dataclasses import replace

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection

from backend.api.auth.cookie import Cookies, Sealed
from backend.api.auth.identity import Authority, Identity, is_user_id
from backend.api.auth.origins import Origins, is_secure
from backend.domain.conversation import ANONYMOUS, Caller
from backend.domain.errors import InvalidField, NotAuthenticated

MAX_CREDENTIAL_CHARACTERS = 8192

USER_HEADER = "X-User-Id"


def cookie_name(connection: HTTPConnection) -> str:
    """Browsers accept `__Host-` cookies from this host only, and never send them over HTTP."""
    return "__Host-lex_session" if is_secure(connection) else "lex_session"


class Authentication:
    """Checks credentials with an authority, and issues cookies that stand for them."""

    def __init__(self, authority: Authority, cookies: Cookies, origins: Origins) -> None:
        self._authority = authority
        self._cookies = cookies
        self._origins = origins

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Return the caller, by the credential if the request has one, otherwise by the cookie.

        Raises:
            NotAuthenticated: missing or invalid credential, or a WebSocket of another origin. The
                reason is never disclosed.
            IdentityUnavailable: the keys that the check needs could not be fetched.
            InvalidField: `X-User-Id` is missing with a trusted key, or present without one.
        """
        if self._origins.is_foreign_socket(connection):
            raise NotAuthenticated
        identity = await self._presented(connection.headers)
        identity = identity or self._remembered(connection)
        user_id = _acting(identity, connection.headers)
        return Caller(
            # Without the prefix, a user named "anonymous" would own all anonymous sessions.
            owner=f"user:{user_id}",
            user_id=user_id,
            key_name=identity.key_name,
            is_operator=identity.is_operator,
        )

    async def exchange(self, connection: HTTPConnection) -> Sealed:
        """Issue a cookie for a credential, but not for a cookie, which could then live forever.

        Raises: the errors of `caller`.
        """
        identity = await self._presented(connection.headers)
        if identity is None:
            raise NotAuthenticated
        user_id = _acting(identity, connection.headers)
        return self._cookies.seal(replace(identity, user_id=user_id))

    async def _presented(self, headers: Headers) -> Identity | None:
        credential = _bearer(headers)
        return None if credential is None else await self._authority.identify(credential)

    def _remembered(self, connection: HTTPConnection) -> Identity:
        value = connection.cookies.get(cookie_name(connection))
        if value is None or not self._origins.may_use_cookie(connection):
            raise NotAuthenticated
        identity = self._cookies.open(value)
        if identity is None or not self._authority.still_vouches(identity):
            raise NotAuthenticated
        return identity


class NoAuthentication:
    """`AUTH=none`: every caller is anonymous."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Raises: NotAuthenticated, for a WebSocket from another origin."""
        if self._origins.is_foreign_socket(connection):
            raise NotAuthenticated
        return ANONYMOUS

    async def exchange(self, connection: HTTPConnection) -> None:  # noqa: ARG002
        """There is no credential to exchange."""
        return


def _bearer(headers: Headers) -> str | None:
    """Return the bearer credential; None for other schemes, which may be meant for a proxy.

    Raises: NotAuthenticated, if the header is repeated or the credential is empty or too long.
    """
    given = headers.getlist("authorization")
    if len(given) > 1:
        raise NotAuthenticated
    scheme, _, credential = "".join(given).partition(" ")
    if scheme.lower() != "bearer":
        return None
    if not 0 < len(credential) <= MAX_CREDENTIAL_CHARACTERS:
        raise NotAuthenticated
    return credential


def _acting(identity: Identity, headers: Headers) -> str:
    """Return the user to act for. Raises: InvalidField.

    `X-User-Id` without a trusted key is refused, not ignored: its sender expects that user's data.
    """
    passed = headers.getlist(USER_HEADER)
    if identity.user_id is not None:
        if passed:
            raise InvalidField("is only allowed with a trusted API key", field=USER_HEADER)
        return identity.user_id
    if len(passed) != 1 or not is_user_id(passed[0]):
        message = "must name the user of a trusted key in 1 to 255 ASCII characters without spaces"
        raise InvalidField(message, field=USER_HEADER)
    return passed[0]
