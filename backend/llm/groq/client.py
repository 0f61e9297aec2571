"""The connections to Groq: sends a request, and returns its open response.

The SDK authenticates, knows the address and translates refusals; a session of aiohttp sends. A
call through the SDK and httpx would take more than twice the CPU time, and keep 17 kB more for each
open stream.
"""

import ssl
from base64 import b64encode
from functools import cache
from urllib.parse import unquote
from urllib.request import getproxies, proxy_bypass

import aiohttp
import httpx
from groq import AsyncGroq
from pydantic import SecretStr
from yarl import URL

from backend.telemetry.redaction import without_credentials

COMPLETIONS = "/openai/v1/chat/completions"

KEEPALIVE_SECONDS = 60.0
"""How long an idle connection stays open. It saves a TLS handshake; the SDK's default is 5 s."""

_OF_THE_TRANSFER = (b"content-encoding", b"transfer-encoding", b"content-length")
"""Headers that describe a body before aiohttp has decoded it."""


class GroqClient:
    """The connections that all models share. Its owner must `close` it."""

    def __init__(self, sdk: AsyncGroq, session: aiohttp.ClientSession) -> None:
        self._sdk = sdk
        self._session = session
        self._url = URL(str(sdk.base_url).rstrip("/") + COMPLETIONS)
        self._proxy = _proxy_for(self._url)

    async def complete(self, body: bytes, *, traceparent: str | None) -> aiohttp.ClientResponse:
        """Ask for a completion. The caller must leave the response, which is a context manager.

        Raises:
            groq.APIStatusError: the server refused.
            aiohttp.ClientError, OSError: it was not reached, or did not answer in HTTP.
        """
        response = await self._session.post(
            self._url,
            data=body,
            headers={"traceparent": traceparent} if traceparent else None,
            proxy=self._proxy,
        )
        if 200 <= response.status < 300:
            return response
        async with response:
            content = await response.read()
        refused = _as_httpx(response, content)
        raise self._sdk._make_status_error_from_response(refused)  # noqa: SLF001 - tests watch it

    async def close(self) -> None:
        await self._session.close()
        await self._sdk.close()


def open_client(
    *,
    api_key: SecretStr,
    base_url: str,
    connect_seconds: float,
    max_connections: int,
    trusted: ssl.SSLContext | None = None,
) -> GroqClient:
    """Open the connections, in a running event loop.

    They trust the certificates of this machine unless `trusted` is given. `max_connections` should
    cover all streams, or the next one waits.
    """
    trusted = trusted or _trusted()
    sdk = AsyncGroq(
        api_key=api_key.get_secret_value(),
        base_url=without_credentials(base_url),
        # A compressed stream arrives in blocks, but text should arrive token by token.
        default_headers={"Accept-Encoding": "identity", **_authorization(base_url)},
        # It sends nothing, and a client of its own would read all certificates again.
        http_client=httpx.AsyncClient(verify=trusted),
    )
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=max_connections, keepalive_timeout=KEEPALIVE_SECONDS, ssl=trusted
        ),
        headers={name: value for name, value in sdk.default_headers.items() if value},
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds),
    )
    return GroqClient(sdk, session)


def _authorization(base_url: str) -> dict[str, str]:
    """The header for a user and password in the URL, which replace the API key.

    They cannot stay in the URL: aiohttp refuses a URL with credentials beside this header.
    """
    given, _, _ = base_url.partition("://")[2].rpartition("@")
    user, _, password = given.partition(":")
    pair = f"{unquote(user)}:{unquote(password)}".encode()
    return {"Authorization": f"Basic {b64encode(pair).decode()}"} if given else {}


@cache
def _trusted() -> ssl.SSLContext:
    """The certificates of this machine. Cached, because reading them takes 30 ms."""
    return httpx.create_ssl_context()


def _proxy_for(url: URL) -> str | None:
    """The proxy that the environment names for this address; None if there is none."""
    proxies = getproxies()
    if url.host is None or proxy_bypass(url.host):
        return None
    return proxies.get(url.scheme) or proxies.get("all")


def _as_httpx(response: aiohttp.ClientResponse, content: bytes) -> httpx.Response:
    """The response as the SDK knows it."""
    return httpx.Response(
        response.status,
        headers=[
            header for header in response.raw_headers if header[0].lower() not in _OF_THE_TRANSFER
        ],
        content=content,
        request=httpx.Request(response.method, str(response.url)),
    )
