"""The caller of a request or of a WebSocket: from its credential, or from its cookie."""

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
    """With the prefix a browser takes it from this very host only, and never sends it in clear."""
    return "__Host-lex_session" if is_secure(connection) else "lex_session"


class Authentication:
    """Asks an authority, and remembers what it said in cookies."""

    def __init__(self, authority: Authority, cookies: Cookies, origins: Origins) -> None:
        self._authority = authority
        self._cookies = cookies
        self._origins = origins

    async def caller(self, connection: HTTPConnection) -> Caller:
        """A credential decides, if there is one; otherwise the cookie does.

        Raises:
            NotAuthenticated: missing or invalid credential, or a WebSocket of another origin. The
                reason is never disclosed.
            IdentityUnavailable: the keys to check the credential with cannot be had.
            InvalidField: `X-User-Id` is missing, or the credential is no trusted key.
        """
        if self._origins.is_foreign_socket(connection):
            raise NotAuthenticated
        identity = await self._presented(connection.headers)
        user_id = _acting(identity or self._remembered(connection), connection.headers)
        # The prefix keeps a user from being called like the owner of all anonymous callers.
        return Caller(owner=f"user:{user_id}", user_id=user_id)

    async def exchange(self, connection: HTTPConnection) -> Sealed:
        """A cookie for a credential; never for a cookie, which would live for ever.

        Raises: as `caller` does.
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
    """`AUTH=none`: every caller is anonymous. WebSockets of pages of other origins are refused."""

    def __init__(self, origins: Origins) -> None:
        self._origins = origins

    async def caller(self, connection: HTTPConnection) -> Caller:
        """Raises: NotAuthenticated."""
        if self._origins.is_foreign_socket(connection):
            raise NotAuthenticated
        return ANONYMOUS

    async def exchange(self, connection: HTTPConnection) -> None:  # noqa: ARG002
        """There is nothing to exchange."""
        return


def _bearer(headers: Headers) -> str | None:
    """Raises: NotAuthenticated. Other schemes are somebody else's, say a proxy's."""
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
    """The user to act for. A header that is not believed is refused and not ignored: its sender
    would take the answer for that user's.
    """
    passed = headers.getlist(USER_HEADER)
    if identity.user_id is not None:
        if passed:
            raise InvalidField("may be passed with a trusted key only", field=USER_HEADER)
        return identity.user_id
    if len(passed) != 1 or not is_user_id(passed[0]):
        message = "must say for whom a trusted key asks, in 1 to 255 ASCII characters, no blanks"
        raise InvalidField(message, field=USER_HEADER)
    return passed[0]
