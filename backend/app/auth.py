"""Set up the authentication that `AUTH` selects, and warn of anonymous access."""

from contextlib import AsyncExitStack

import structlog

from backend.api.auth.api_keys import ApiKeys
from backend.api.auth.authentication import Authentication, NoAuthentication
from backend.api.auth.cookie import Cookies
from backend.api.auth.identity import Authority
from backend.api.auth.jwks import Jwks
from backend.api.auth.origins import Origins
from backend.api.auth.tokens import SharedSecret, SigningKeys, Tokens
from backend.network.exposure import REFUSAL, WARNING, Exposure
from backend.settings import Settings

logger = structlog.get_logger()


async def open_authentication(
    settings: Settings, stack: AsyncExitStack
) -> Authentication | NoAuthentication:
    origins = Origins(settings.cors_origins)
    if settings.auth == "none":
        return NoAuthentication(origins)
    cookies = Cookies(
        settings.session_cookie_secrets,
        context=f"{settings.auth} {settings.jwt_issuer} {settings.jwt_audience}",
        lifetime_seconds=settings.session_cookie_hours * 3600,
    )
    return Authentication(await _authority(settings, stack), cookies, origins)


async def _authority(settings: Settings, stack: AsyncExitStack) -> Authority:
    if settings.api_keys_file is not None and settings.auth == "api_key":
        return await stack.enter_async_context(ApiKeys.watched(settings.api_keys_file))
    return Tokens(
        await _signing_keys(settings, stack),
        issuer=settings.jwt_issuer or "",
        audience=settings.jwt_audience or "",
        algorithms=settings.signing_algorithms,
        leeway_seconds=settings.jwt_leeway_seconds,
        roles_claim=settings.jwt_roles_claim,
    )


async def _signing_keys(settings: Settings, stack: AsyncExitStack) -> SigningKeys:
    if settings.jwt_secret is not None:
        return SharedSecret(settings.jwt_secret.get_secret_value())
    fetched = Jwks.kept(settings.jwt_jwks_url or "", algorithms=settings.signing_algorithms)
    return await stack.enter_async_context(fetched)


def warn_of_anonymous_access(settings: Settings, exposure: Exposure) -> tuple[str, ...]:
    """Return the warnings for `/readyz` and the chat page.

    Raises: SystemExit, if anyone on the network could act for any user, unless `ALLOW_ANONYMOUS`.
    """
    if settings.auth != "none" or exposure in (Exposure.LOOPBACK, Exposure.SOCKET):
        return ()
    if settings.allow_anonymous:
        logger.warning("anonymous_access", note=WARNING)
        return (WARNING,)
    if exposure is Exposure.UNKNOWN:
        note = f"{REFUSAL}. The server does not tell where it listens."
        logger.warning("anonymous_access", note=note)
        return ()
    raise SystemExit(f"lex: {REFUSAL}.")
