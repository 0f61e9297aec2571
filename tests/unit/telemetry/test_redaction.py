"""Hides credentials in texts of libraries."""

import pytest

from backend.telemetry.redaction import (
    redacted,
    secrets_in_url,
    secrets_of_environment,
    without_credentials,
)


@pytest.mark.parametrize(
    "text",
    [
        "failed to resolve host 'two@host'",
        "cannot connect to redis://user:one@two@host",
        "Invalid port: 'one'",
        "no such path /two",
        "one%40two",
    ],
)
def test_a_secret_is_hidden_whole_encoded_and_in_parts(text: str) -> None:
    text = text.replace("one", "hunter").replace("two", "zebra")

    shown = redacted(text, ["hunter@zebra"])

    assert "hunter" not in shown
    assert "zebra" not in shown


def test_what_is_no_secret_stays() -> None:
    text = "connection to server at 10.0.0.5, port 5432 failed: Connection refused"

    assert redacted(text, ["", "at", "hunter2"]) == text
    assert redacted(text, []) == text


@pytest.mark.parametrize(
    ("url", "secrets"),
    [
        ("postgresql://lex:hunter@db/lex", ["hunter"]),
        ("postgresql://lex:hun@ter@db/lex", ["hun@ter"]),
        ("redis://:hun/ter@db:6379/0", ["hun/ter"]),
        ("redis+cluster://lex:hunter@one:6379,two:6379", ["hunter"]),
        ("redis+cluster://:hunter@one,:zebra@two", ["hunter@one,:zebra"]),
        (
            "rediss+sentinel://:hunter@one,two/master?sentinel_password=zebra",
            ["hunter", "zebra"],
        ),
        ("valkey://:hunter@db", ["hunter"]),
        ("http://token@host", ["token"]),
        ("lex:hunter@host", ["hunter"]),
        ("postgresql://db/lex?user=lex&password=hunter", ["hunter"]),
        ("https://issuer/keys?access_token=hunter", ["hunter"]),
        ("sqlite:///lex.db", []),
        ("", []),
    ],
)
def test_secrets_are_found_in_urls_however_they_are_written(url: str, secrets: list[str]) -> None:
    assert secrets_in_url(url) == secrets


def test_secrets_of_proxies_and_collectors_are_known() -> None:
    found = secrets_of_environment(
        {
            "HTTPS_PROXY": "http://user:hunter@proxy:3128",
            "OTEL_EXPORTER_OTLP_HEADERS": "api-key=zebra,x=y",
        }
    )

    assert {"hunter", "zebra"} <= set(found)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://api.groq.com", "https://api.groq.com"),
        ("http://user:hun@ter@host:9100/", "http://host:9100/"),
        ("http://[::1]:9100", "http://[::1]:9100"),
    ],
)
def test_a_url_is_shown_without_its_credentials(url: str, shown: str) -> None:
    assert without_credentials(url) == shown
