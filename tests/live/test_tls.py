"""An upstream over TLS: which certificates are refused, and what the log says."""

import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from backend.domain.conversation import Message
from backend.domain.errors import UpstreamUnavailable
from backend.llm.groq.client import _trusted, open_client
from backend.llm.groq.model import GroqModel
from backend.llm.port import CompletionRequest, Finish
from infrastructure.groq_standin import Standin
from tests.certificates import DAY, Authority, Signed, self_signed
from tests.serving import lex

REQUEST = CompletionRequest(prompt="You are Lex.", messages=[Message.user("Hi")])


@asynccontextmanager
async def asking(url: str, trusted: ssl.SSLContext | None) -> AsyncIterator[GroqModel]:
    client = open_client(
        api_key=SecretStr("test"),
        base_url=url,
        connect_seconds=5,
        max_connections=2,
        trusted=trusted,
    )
    try:
        yield GroqModel(client, "m", max_completion_tokens=9, first_byte_seconds=5, gap_seconds=5)
    finally:
        await client.close()


async def failure_at(url: str, trusted: ssl.SSLContext | None) -> tuple[UpstreamUnavailable, str]:
    """Return the error, and the cause from the log."""
    async with asking(url, trusted) as model:
        with capture_logs() as lines, pytest.raises(UpstreamUnavailable) as raised:
            async with aclosing(model.complete(REQUEST)) as deltas:
                await anext(deltas)
    (told,) = [line for line in lines if line["event"] == "upstream_unreachable"]
    return raised.value, told["cause"]


async def test_a_certificate_that_is_trusted_is_no_hindrance(tmp_path: Path) -> None:
    authority = Authority()
    async with (
        Standin.serve(tls=authority.sign().served(tmp_path)) as standin,
        asking(standin.url, authority.trusted) as model,
        aclosing(model.complete(REQUEST)) as deltas,
    ):
        answer = [delta async for delta in deltas]

    assert isinstance(answer[-1], Finish)


async def test_the_authorities_of_the_environment_are_those_of_all_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chart's `caBundles` set this variable."""
    authority = Authority()
    bundle = tmp_path / "ca.crt"
    bundle.write_bytes(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    async with Standin.serve(tls=authority.sign().served(tmp_path)) as standin:
        async with (
            asking(standin.url, _trusted.__wrapped__()) as model,
            aclosing(model.complete(REQUEST)) as deltas,
        ):
            assert [delta async for delta in deltas]
        async with httpx.AsyncClient() as client:  # like the one for the issuer's keys
            assert (await client.get(f"{standin.url}/_standin/stats")).is_success


UNTRUSTED: list[tuple[str, Callable[[Authority], Signed], str]] = [
    ("self-signed", lambda _: self_signed(), "certificate self-signed"),
    ("unknown", lambda _: Authority().sign(), "certificate of an unknown authority"),
    ("expired", lambda known: known.sign(begins_in=-2 * DAY), "certificate expired"),
    ("early", lambda known: known.sign(begins_in=DAY), "certificate not valid yet"),
    ("address", lambda known: known.sign("127.0.0.9"), "certificate for another address"),
    ("host", lambda known: known.sign("other.example"), "certificate for another host"),
]


@pytest.mark.parametrize(
    ("kind", "signed", "cause"), UNTRUSTED, ids=[kind for kind, *_ in UNTRUSTED]
)
async def test_a_certificate_that_is_refused_is_named_in_the_log(
    kind: str, signed: Callable[[Authority], Signed], cause: str, tmp_path: Path
) -> None:
    authority = Authority()
    async with Standin.serve(tls=signed(authority).served(tmp_path)) as standin:
        url = standin.url.replace("127.0.0.1", "localhost") if kind == "host" else standin.url

        failure, told = await failure_at(url, authority.trusted)

    assert told == cause
    assert failure.code == "upstream_unavailable"
    assert not failure.is_passing
    assert standin.stats.requests == 0


async def test_a_server_that_speaks_no_tls_is_no_time_out() -> None:
    async with Standin.serve() as standin:
        failure, told = await failure_at(standin.url.replace("http:", "https:"), None)

    assert told.startswith("TLS failed: ")
    assert failure.is_passing


async def test_a_refused_connection_is_no_time_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]

    failure, told = await failure_at(f"http://127.0.0.1:{port}", None)

    assert told == "ConnectionRefusedError"
    assert failure.is_passing


async def test_a_turn_does_not_knock_again_at_a_certificate_that_is_refused(
    tmp_path: Path,
) -> None:
    async with (
        Standin.serve(tls=self_signed().served(tmp_path)) as standin,
        lex(groq_base_url=standin.url, model_fallbacks="none") as service,
    ):
        with capture_logs() as lines:
            events = await service.ask("Hello")

        told: list[Any] = [line for line in lines if line["event"] == "upstream_unreachable"]

    assert [event for event, _ in events] == ["error", "outcome", "end"]
    assert '"code": "upstream_unavailable"' in events[0][1]
    assert [(line["cause"], line["log_level"]) for line in told] == [
        ("certificate self-signed", "error")
    ]
