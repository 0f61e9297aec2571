"""Settings are read from the environment, and wrong ones are refused in one line."""

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
    hidden = "h1dden" * 10
    settings = read(
        groq_api_key=hidden,
        database_url=f"postgresql+psycopg://user:{hidden}@host/lex",
        jwt_secret=hidden,
        session_cookie_secret=hidden,
        log_hash_key=hidden,
    )

    assert "h1dden" not in repr(settings)


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
        ("SUMMARY_IDLE_SECONDS", "-1"),
        ("LOG_FORMAT", "xml"),
        ("LOG_HASH_KEY", "short"),
        ("TRACE_CONTEXT", "obey"),
        ("TRACE_SLOW_SECONDS", "0"),
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


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("MAX_STREAMS", "0", "it must be greater than 0, not '0'"),
        ("MAX_STREAMS", "many", "it must be a valid integer, not 'many'"),
        ("LOG_FORMAT", "xml", "it must be 'auto', 'json' or 'text', not 'xml'"),
        ("API_DOCS", "maybe", "it must be a valid boolean, not 'maybe'"),
        ("RATE_LIMIT_CLIENT", "20", "it must be like 20/minute;300/day, or none, not '20'"),
    ],
)
def test_a_line_says_what_is_allowed_and_what_was_given(
    name: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "secret")
    monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit) as stopped:
        Settings.read()

    assert str(stopped.value) == f"lex: {name} cannot be used: {reason}."


def test_a_key_of_groqs_is_needed_only_where_groq_is_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "")

    with pytest.raises(SystemExit, match=r"^lex: GROQ_API_KEY is not set\. Put a key .*\.$"):
        Settings.read()
    monkeypatch.setenv("PROVIDER", "another")
    settings = Settings.read()

    assert settings.groq_api_key is None


COOKIE = {"session_cookie_secret": "c" * 32}
KEYED = {**COOKIE, "auth": "api_key", "api_keys_file": "keys.json"}
ISSUED = {**COOKIE, "auth": "jwt", "jwt_issuer": "https://issuer", "jwt_audience": "lex"}
SHARED = {**ISSUED, "jwt_secret": "s" * 32}
PUBLIC = {**ISSUED, "jwt_jwks_url": "https://issuer/keys"}


@pytest.mark.parametrize(
    ("given", "algorithms"),
    [
        (SHARED, ("HS256",)),
        (PUBLIC, ("RS256", "ES256")),
        ({**SHARED, "jwt_algorithms": "HS512", "jwt_secret": "s" * 64}, ("HS512",)),
        ({**PUBLIC, "jwt_algorithms": "EdDSA, PS256"}, ("EdDSA", "PS256")),
    ],
    ids=str,
)
def test_algorithms_suit_the_keys(given: dict[str, str], algorithms: tuple[str, ...]) -> None:
    assert read(**given).signing_algorithms == algorithms


def test_a_cookie_secret_can_have_a_successor() -> None:
    settings = read(**{**KEYED, "session_cookie_secret": f"{'n' * 32}, {'o' * 32}"})

    assert settings.session_cookie_secrets == ("n" * 32, "o" * 32)


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({**KEYED, "api_keys_file": None}, "API_KEYS_FILE"),
        ({**KEYED, "session_cookie_secret": None}, "SESSION_COOKIE_SECRET"),
        ({**KEYED, "session_cookie_secret": "short"}, "SESSION_COOKIE_SECRET"),
        ({**KEYED, "session_cookie_secret": "n" * 32 + ",short"}, "SESSION_COOKIE_SECRET"),
        ({**KEYED, "cors_origins": "https://a,*"}, "CORS_ORIGINS"),
        ({**SHARED, "jwt_issuer": None}, "JWT_ISSUER"),
        ({**SHARED, "jwt_audience": None}, "JWT_AUDIENCE"),
        ({**ISSUED}, "JWT_JWKS_URL"),
        ({**SHARED, "jwt_jwks_url": "https://issuer/keys"}, "JWT_JWKS_URL"),
        ({**SHARED, "jwt_algorithms": "RS256"}, "JWT_ALGORITHMS"),
        ({**SHARED, "jwt_algorithms": "HS256,none"}, "JWT_ALGORITHMS"),
        ({**PUBLIC, "jwt_algorithms": "HS256"}, "JWT_ALGORITHMS"),
        ({**PUBLIC, "jwt_algorithms": "RS256,HS256"}, "JWT_ALGORITHMS"),
        ({**PUBLIC, "jwt_algorithms": "none"}, "JWT_ALGORITHMS"),
        ({**SHARED, "jwt_secret": "s" * 31}, "JWT_SECRET"),
        ({**SHARED, "jwt_algorithms": "HS256,HS384"}, "JWT_SECRET"),
        ({**PUBLIC, "jwt_jwks_url": "issuer/keys"}, "JWT_JWKS_URL"),
        ({**SHARED, "jwt_leeway_seconds": "3000"}, "JWT_LEEWAY_SECONDS"),
        ({**KEYED, "session_cookie_hours": "0"}, "SESSION_COOKIE_HOURS"),
        ({**KEYED, "auth": "basic"}, "AUTH"),
    ],
    ids=str,
)
def test_what_does_not_suit_the_authentication_is_named_in_one_line(
    given: dict[str, str | None], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "secret")
    for variable, value in given.items():
        if value is not None:
            monkeypatch.setenv(variable.upper(), value)

    with pytest.raises(SystemExit) as stopped:
        Settings.read()

    line = str(stopped.value)
    assert line.startswith(f"lex: {name} ")
    assert "\n" not in line
    assert not any(secret * 31 in line for secret in "scn")


def test_without_authentication_all_pages_may_call() -> None:
    assert read(cors_origins="*").cors_origins == ("*",)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("100000/day", "100000/day"),
        (" 100 / 5 minutes ; 7/hour ", "100 / 5 minutes;7/hour"),
        ("none", ""),
        ("None", ""),
    ],
)
def test_budgets_of_tokens_are_several_or_none(given: str, kept: str) -> None:
    assert read(token_budget_client=given).token_budget_client == kept
    assert read(token_budget_session=given).token_budget_session == kept


@pytest.mark.parametrize("given", ["2.50/day", "3/hour", "0.01/day;5/30 days", "0.000001/day"])
def test_budgets_of_cost_may_have_a_fraction(given: str) -> None:
    assert read(cost_budget_client=given).cost_budget_client == given


def test_a_budget_that_is_not_set_is_not_none() -> None:
    assert read().token_budget_client is None
    assert read(token_budget_client="none").token_budget_client == ""


@pytest.mark.parametrize(
    "given", ["0/day", "1.5/day", "-1/day", "1000", "1/fortnight", "x", "1/day,2/hour"]
)
def test_a_token_budget_that_makes_no_sense_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"it must be like 100000/day"):
        read(token_budget_client=given)


@pytest.mark.parametrize(
    "given", ["0/day", "0.0/day", "-1/day", "2,50/day", "$2/day", "1e3/day", "2.50"]
)
def test_a_cost_budget_that_makes_no_sense_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match=r"it must be like 2\.50/day"):
        read(cost_budget_client=given)
