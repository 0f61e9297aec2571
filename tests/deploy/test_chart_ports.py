"""The network policy opens the ports that the URLs name, towards the addresses where they are."""

from typing import Any

import pytest

from tests.deploy.chart import Values, one, values_of

POLICY = values_of("values.yaml")["networkPolicy"]
BASE: Values = {"databaseUrl": "postgresql://db/lex", "redisUrl": "redis://redis"}
JWT: Values = {
    "auth": "jwt",
    "jwtIssuer": "https://id.example.com/",
    "jwtAudience": "lex",
    "jwtJwksUrl": "http://keycloak.auth.svc:8080/keys",
    "secretKeys": ["GROQ_API_KEY", "SESSION_COOKIE_SECRET"],
}


def rules(values: Values, **policy: Any) -> list[tuple[list[int], list[Any]]]:
    """The ports and peers of each rule of egress, without DNS."""
    asked = {**BASE, **values, "networkPolicy": {"enabled": True, "dnsTo": [], **policy}}
    egress = one(asked, "NetworkPolicy")["spec"]["egress"]
    return [([port["port"] for port in rule["ports"]], rule["to"]) for rule in egress]


def ports(values: Values, **policy: Any) -> list[list[int]]:
    return [opened for opened, _ in rules(values, **policy)]


@pytest.mark.parametrize(
    ("url", "opened"),
    [
        ("postgresql://db/lex", [5432]),
        ("postgresql+psycopg://lex@db:6543/lex?sslmode=require", [6543]),
        ("postgresql://lex@one:6432,two,[::1]:5/lex?options=a@b:9", [5, 5432, 6432]),
        ("postgresql:///lex?host=one:7&host=two", [7, 5432]),
        ("postgresql://db/lex?port=6432", [6432]),
    ],
)
def test_the_port_of_postgres_is_that_of_its_url(url: str, opened: list[int]) -> None:
    assert ports({"databaseUrl": url}) == [opened, [6379], [443]]


@pytest.mark.parametrize(
    ("url", "opened"),
    [
        ("rediss://redis:6380/0", [6380]),
        ("redis+sentinel://one,two:3/master", [3, 6379, 26379]),
        ("valkey+cluster://one:7000,two:7001", [7000, 7001]),
    ],
)
def test_the_ports_of_redis_are_those_of_its_url(url: str, opened: list[int]) -> None:
    assert ports({"redisUrl": url}) == [[5432], opened, [443]]


def test_no_port_is_opened_for_sockets_of_the_machine() -> None:
    sockets = {"databaseUrl": "postgresql:///lex?host=/run", "redisUrl": "unix:///run/redis.sock"}

    assert ports(sockets) == [[443]]


def test_a_cluster_may_announce_another_port() -> None:
    assert ports({"redisUrl": "redis+cluster://one:7000"}, redisPort=7001)[1] == [7000, 7001]


def test_ports_of_urls_in_a_secret_are_given() -> None:
    secret: Values = {
        "databaseUrl": "",
        "redisUrl": "",
        "secretKeys": ["GROQ_API_KEY", "DATABASE_URL", "REDIS_URL"],
    }

    assert ports(secret)[:2] == [[5432], [6379]]
    assert ports(secret, postgresPort=6432, redisPort=7, sentinelPort=8)[:2] == [[6432], [7, 8]]


@pytest.mark.parametrize(
    ("url", "protocol", "port"),
    [
        ("http://collector:4318", "http/protobuf", 4318),
        ("http://collector", "http/protobuf", 80),
        ("https://collector", "http/protobuf", 443),
        ("http://collector", "grpc", 443),
    ],
)
def test_the_port_of_the_collector_is_that_of_its_url(url: str, protocol: str, port: int) -> None:
    made = ports({"otelExporterOtlpEndpoint": url, "otelExporterOtlpProtocol": protocol})

    assert made[2] == [port]


@pytest.mark.parametrize(
    ("url", "port", "to"),
    [
        ("https://api.groq.com", 443, "httpsTo"),
        ("https://groq.example.com:8443/", 8443, "httpsTo"),
        ("https://172.2.1.1", 443, "httpsTo"),
        ("http://gateway", 80, "internalTo"),
        ("http://gateway.models:8080", 8080, "internalTo"),
        ("https://gateway.models.svc.cluster.local", 443, "internalTo"),
        ("https://172.20.1.1", 443, "internalTo"),
        ("https://[fd00::1]:9", 9, "internalTo"),
    ],
)
def test_groq_is_reached_where_its_host_is(url: str, port: int, to: str) -> None:
    *_, groq = rules({"groqBaseUrl": url})

    assert groq == ([port], POLICY[to])


def test_keys_of_the_issuer_and_the_weather_are_reached() -> None:
    asked = {**JWT, "weatherProvider": "open-meteo", "groqBaseUrl": "http://gateway:81"}

    assert rules(asked)[2:] == [([443], POLICY["httpsTo"]), ([81, 8080], POLICY["internalTo"])]
