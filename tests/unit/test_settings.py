"""The environment, and what is wrong with it."""

import pytest

from backend.settings import Settings

NEEDED = {"groq_api_key": "secret"}


def read(**given: object) -> Settings:
    return Settings(_env_file=None, **{**NEEDED, **given})  # type: ignore[arg-type]


def test_models_are_listed_in_order_and_once() -> None:
    settings = read(model_name="a", model_fallbacks=" b, a ,,c ")

    assert settings.models == ("a", "b", "c")


def test_a_list_can_be_empty() -> None:
    assert read(model_fallbacks="none").models == ("llama-3.3-70b-versatile",)
    assert read(cors_origins="none").cors_origins == ()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("20/minute;300/day", "20/minute;300/day"),
        ("1/second ; 5 / 10 minutes", "1/second;5 / 10 minutes"),
        ("None", ""),
    ],
)
def test_limits_are_several_or_none(given: str, kept: str) -> None:
    assert read(rate_limit_session=given).rate_limit_session == kept


def test_proxies_are_addresses_networks_everybody_or_nobody() -> None:
    assert read(forwarded_allow_ips="10.0.0.0/8, ::1").forwarded_allow_ips == ("10.0.0.0/8", "::1")
    assert read(forwarded_allow_ips="*").forwarded_allow_ips == ("*",)
    assert read(forwarded_allow_ips="none").forwarded_allow_ips == ()


def test_secrets_do_not_show() -> None:
    settings = read(database_url="postgresql+psycopg://user:hidden@host/lex")

    assert "secret" not in repr(settings)
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize(
    "url", ["https://api.groq.com", "http://127.0.0.1:9100", "https://proxy.example/"]
)
def test_a_host_is_taken(url: str) -> None:
    assert read(groq_base_url=url).groq_base_url == url


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GROQ_BASE_URL", "notaurl"),
        ("GROQ_BASE_URL", "https://api.groq.com/openai/v1"),
        ("MAX_STREAMS", "0"),
        ("LEASE_SECONDS", "-1"),
        ("CHUNK_FLUSH_MS", "soon"),
        ("LOG_FORMAT", "xml"),
        ("RATE_LIMIT_SESSION", "20"),
        ("RATE_LIMIT_SESSION", "0/minute"),
        ("RATE_LIMIT_SESSION", "20/minute;"),
        ("RATE_LIMIT_CLIENT", "20/fortnight"),
        ("REDIS_URL", "localhost:6379"),
        ("REDIS_URL", "redis://:hidden@host:port/0"),
        ("FORWARDED_ALLOW_IPS", "127.0.0.1,proxy"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1/8"),
    ],
)
def test_a_wrong_value_is_named_in_one_line(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "secret")
    monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as stopped:
        Settings.read()

    line = str(stopped.value)
    assert "hidden" not in line
    assert line.startswith(f"lex: {name} cannot be used: ")
    assert "\n" not in line
