"""Who may ask: what `AUTH` says, with its keys fetched or watched."""

from contextlib import AsyncExitStack

from backend.api.auth.api_keys import ApiKeys
from backend.api.auth.authentication import Authentication, OpenHouse
from backend.api.auth.cookie import Cookies
from backend.api.auth.identity import Authority
from backend.api.auth.jwks import Jwks
from backend.api.auth.origins import Origins
from backend.api.auth.tokens import SharedSecret, SigningKeys, Tokens
from backend.settings import Settings


async def open_authentication(
    settings: Settings, stack: AsyncExitStack
) -> Authentication | OpenHouse:
    origins = Origins(settings.cors_origins)
    if settings.auth == "none":
        return OpenHouse(origins)
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
    )


async def _signing_keys(settings: Settings, stack: AsyncExitStack) -> SigningKeys:
    if settings.jwt_secret is not None:
        return SharedSecret(settings.jwt_secret.get_secret_value())
    fetched = Jwks.kept(settings.jwt_jwks_url or "", algorithms=settings.signing_algorithms)
    return await stack.enter_async_context(fetched)
