"""The chart refuses values that would break later, with a sentence that says why."""

import re

import helm_python
import pytest

from tests.deploy.chart import BEHIND_A_PROXY, CHART, RELEASES, SHARED, Values, texts

INGRESS: Values = {"ingress": {"enabled": True, "hosts": ["lex.example.com"]}}
JWT = RELEASES["jwt-secret"]
SCALED: Values = {**SHARED, "autoscaling": {"enabled": True}}

REFUSED: dict[str, tuple[Values, Values, str]] = {
    "two replicas on SQLite": (
        {"redisUrl": "redis://redis"},
        {"replicaCount": 2},
        "2 replicas cannot share databaseUrl sqlite:////data/lex.db",
    ),
    "an autoscaler on SQLite": (
        {"redisUrl": "redis://redis"},
        {"autoscaling": {"enabled": True, "maxReplicas": 5}},
        "5 replicas cannot share databaseUrl sqlite",
    ),
    "two replicas that forget": (
        {"redisUrl": "redis://redis", "databaseUrl": "memory://"},
        {"replicaCount": 2},
        "2 replicas cannot share databaseUrl memory://",
    ),
    "workers that forget": (
        {"redisUrl": "redis://redis", "databaseUrl": "memory://"},
        {"webConcurrency": 2},
        "webConcurrency above 1 does not work with databaseUrl memory://",
    ),
    "replicas that count alone": (
        RELEASES["postgres-alone"],
        {"replicaCount": 2},
        "need Redis to share rate limits",
    ),
    "workers that count alone": ({}, {"webConcurrency": 2}, "need Redis to share rate limits"),
    "KEDA that counts alone": (
        RELEASES["postgres-alone"],
        {"keda": {"enabled": True}},
        "need Redis to share rate limits",
    ),
    "half of the limits": (
        RELEASES["no-limits"],
        {"rateLimitClient": "120/minute"},
        "need Redis to share rate limits",
    ),
    "sessions that are counted alone": (
        RELEASES["no-limits"],
        {"rateLimitSessions": "60/minute"},
        "set rateLimitSession, rateLimitClient and rateLimitSessions to none",
    ),
    "more connections than Postgres has": (
        SCALED,
        {"autoscaling": {"enabled": True, "maxReplicas": 13}},
        "26 pods, as many as a rolling update can have, with webConcurrency 1 and databasePoolSize "
        "4 open up to 104 connections, but database.maxConnections leaves 97",
    ),
    "more connections than the pooler has": (
        {**SHARED, "database": {"maxConnections": 27}},
        {"databasePoolSize": 5},
        "open up to 30 connections, but database.maxConnections leaves 24",
    ),
    "more connections of many workers": (
        SHARED,
        {"webConcurrency": 5},
        "open up to 120 connections",
    ),
    "two autoscalers": (
        SCALED,
        {"keda": {"enabled": True}},
        "two autoscalers would scale the same pods",
    ),
    "fewer at most than at least": (
        SCALED,
        {"autoscaling": {"enabled": True, "minReplicas": 9, "maxReplicas": 3}},
        "minReplicas is greater than",
    ),
    "an autoscaler that looks at nothing": (
        SCALED,
        {"autoscaling": {"enabled": True, "targetStreamsPerPod": 0, "targetCpuPercent": 0}},
        "autoscaling has no target",
    ),
    "a share of nothing": (
        SCALED,
        {"resources": {"requests": None}},
        "a percentage of resources.requests.cpu",
    ),
    "a drain longer than the grace": (
        {"terminationGracePeriodSeconds": 120},
        {"drainSeconds": 90},
        "terminationGracePeriodSeconds of 120 is too short",
    ),
    "a grace shorter than the drain": (
        {},
        {"terminationGracePeriodSeconds": 30},
        "terminationGracePeriodSeconds of 30 is too short",
    ),
    "a password of the upstream": (
        {},
        {"groqBaseUrl": "https://user:hunter2@proxy.example"},
        "groqBaseUrl has a password, and Helm stores values in the release: put GROQ_BASE_URL",
    ),
    "a password of the collector": (
        {},
        {"otelExporterOtlpEndpoint": "http://user:hunter2@collector:4318"},
        "otelExporterOtlpEndpoint has a password, and Helm stores values in the release",
    ),
    "nobody asked who they are, and nobody meant it": (
        {},
        {"allowAnonymous": False},
        "auth: none lets every client that reaches the Service act for any user",
    ),
    "a door for everybody": (
        {"forwardedAllowIps": "10.0.0.0/8"},
        INGRESS,
        "auth: none behind an Ingress",
    ),
    "a route for everybody": (
        {"forwardedAllowIps": "10.0.0.0/8"},
        {"httpRoute": {"enabled": True, "parentRefs": [{"name": "gateway"}]}},
        "auth: none behind an Ingress, an HTTPRoute",
    ),
    "a balancer for everybody": ({}, {"service": {"type": "LoadBalancer"}}, "auth: none behind"),
    "a proxy that is not believed": (
        {**INGRESS, **BEHIND_A_PROXY},
        {"forwardedAllowIps": "127.0.0.1"},
        "forwardedAllowIps does not name the proxy",
    ),
    "an Ingress for all names": (
        BEHIND_A_PROXY,
        {"ingress": {"enabled": True}},
        "ingress.enabled needs ingress.hosts",
    ),
    "an Ingress whose host is not allowed": (
        {**BEHIND_A_PROXY, "allowedHosts": "lex, *.example.com:8000,example.com"},
        {"ingress": {"enabled": True, "hosts": ["lex.example.com", "lex.example.org"]}},
        "allowedHosts does not accept lex.example.org",
    ),
    "a route whose host is not allowed": (
        {**RELEASES["httproute"], "allowedHosts": "*"},
        {"allowedHosts": "lex"},
        "allowedHosts does not accept lex.example.com",
    ),
    "a route from nowhere": (
        BEHIND_A_PROXY,
        {"httpRoute": {"enabled": True}},
        "httpRoute.enabled needs httpRoute.parentRefs",
    ),
    "metrics for everybody": ({}, {"metricsPort": 8000}, "metricsPort and port are the same"),
    "no key of Groq": ({}, {"secretKeys": ["REDIS_URL"]}, "secretKeys has no GROQ_API_KEY"),
    "a label that selectors need": (
        {"podLabels": {"app.kubernetes.io/part-of": "shop"}},
        {"podLabels": {"app.kubernetes.io/component": "mine"}},
        "podLabels has app.kubernetes.io/component, which the chart sets itself",
    ),
    "the same label of objects": (
        {"commonLabels": {"team": "sales"}},
        {"commonLabels": {"app.kubernetes.io/instance": "mine"}},
        "commonLabels has app.kubernetes.io/instance, which the chart sets itself",
    ),
    "one label twice": (
        {"commonLabels": {"team": "sales"}},
        {"podLabels": {"team": "shop"}},
        "podLabels has team, which the chart sets itself",
    ),
    "a checksum of the operator's": (
        {},
        {"podAnnotations": {"checksum/config": "0"}},
        "podAnnotations has checksum/config, which the chart sets itself",
    ),
    "two pods on one volume": (
        {"updateStrategy": {"type": "Recreate"}},
        {"updateStrategy": {"type": "RollingUpdate"}},
        "updateStrategy must be {type: Recreate} with SQLite",
    ),
    "authorities from nowhere": (
        {"caBundles": {"default": {"configMapName": "company-ca"}}},
        {"caBundles": {"default": {}}},
        "caBundles.default needs either secretName or configMapName",
    ),
    "authorities from two places": (
        {},
        {"caBundles": {"redis": {"configMapName": "one", "secretName": "two"}}},
        "caBundles.redis needs either secretName or configMapName",
    ),
    "one variable twice": (
        {"secretRefs": {"PGPASSWORD": {"name": "db", "key": "password"}}},
        {"extraEnv": [{"name": "PGPASSWORD", "value": "no"}]},
        "PGPASSWORD is in secretRefs and in extraEnv",
    ),
    "a database in two Secrets": (
        {},
        {"secretRefs": {"DATABASE_URL": {"name": "db", "key": "uri"}}},
        "databaseUrl and DATABASE_URL in secretKeys are both set",
    ),
    "two databases": (
        {},
        {"secretKeys": ["GROQ_API_KEY", "DATABASE_URL"]},
        "databaseUrl and DATABASE_URL in secretKeys are both set",
    ),
    "no database": ({}, {"databaseUrl": ""}, "secretKeys has no DATABASE_URL: set one of them"),
    "two Redis": (
        SHARED,
        {"redisUrl": "redis://redis"},
        "redisUrl and REDIS_URL in secretKeys are both set",
    ),
    "a password of the database": (
        {},
        {"databaseUrl": "postgresql://lex:hunter2@db/lex"},
        "databaseUrl has a password: put the URL into the Secret as DATABASE_URL",
    ),
    "a password of Redis": (
        {},
        {"redisUrl": "redis://:hunter2@redis"},
        "redisUrl has a password: put the URL into the Secret as REDIS_URL",
    ),
    "a file beside the volume": (
        {},
        {"databaseUrl": "sqlite:///lex.db"},
        "databaseUrl must start with sqlite:////data/",
    ),
    "an external secret from nowhere": (
        {},
        {"externalSecret": {"enabled": True}},
        "externalSecret.enabled needs externalSecret.storeName",
    ),
    "cookies that nobody can open": (
        JWT,
        {"secretKeys": ["GROQ_API_KEY", "JWT_SECRET"]},
        "auth: jwt needs SESSION_COOKIE_SECRET",
    ),
    "any page": (JWT, {"corsOrigins": "*"}, "corsOrigins cannot be * with auth: jwt"),
    "no file of keys": (
        RELEASES["api-keys"],
        {"apiKeysSecretName": ""},
        "auth: api_key needs apiKeysSecretName",
    ),
    "no issuer": (JWT, {"jwtIssuer": ""}, "auth: jwt needs jwtIssuer and jwtAudience"),
    "no keys of the issuer": (
        RELEASES["prod"],
        {"jwtJwksUrl": ""},
        "auth: jwt needs either jwtJwksUrl or JWT_SECRET",
    ),
    "two kinds of keys": (
        JWT,
        {"jwtJwksUrl": "https://id.example.com/jwks"},
        "auth: jwt needs either jwtJwksUrl or JWT_SECRET in secretKeys, not both",
    ),
    "a port that is not Postgres'": (
        RELEASES["network-policy-of-urls"],
        {"networkPolicy": {"enabled": True, "postgresPort": 5432}},
        "networkPolicy.postgresPort is 5432, but databaseUrl connects to port 6432",
    ),
    "a port that is not Redis'": (
        {"networkPolicy": {"enabled": True}},
        {"redisUrl": "redis://redis", "networkPolicy": {"enabled": True, "redisPort": 6380}},
        "networkPolicy.redisPort is 6380, but redisUrl connects to port 6379",
    ),
    "a port of one Sentinel": (
        RELEASES["network-policy-of-urls"],
        {"networkPolicy": {"enabled": True, "sentinelPort": 26379}},
        "networkPolicy.sentinelPort is 26379, but redisUrl connects to port 26379, 26380",
    ),
    "a port of no Sentinel": (
        {"redisUrl": "redis://redis"},
        {"networkPolicy": {"enabled": True, "sentinelPort": 26379}},
        "networkPolicy.sentinelPort is 26379, but redisUrl names no Sentinels",
    ),
    "a port that is not the collector's": (
        {"otelExporterOtlpEndpoint": "http://collector:4318"},
        {"networkPolicy": {"enabled": True, "collectorPort": 4317}},
        "networkPolicy.collectorPort is 4317, but otelExporterOtlpEndpoint connects to port 4318",
    ),
}


def refusal(values: Values) -> str:
    with pytest.raises(helm_python.HelmRenderError) as refused:
        texts(values)
    return str(refused.value)


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_break_is_refused_with_its_reason(case: str) -> None:
    good, change, sentence = REFUSED[case]
    texts(good)

    said = refusal({**good, **change})

    assert sentence in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("databaseUrl", "postgresql://lex:hunter2/x@db/lex"),
        ("databaseUrl", "postgresql://lex:/hunter2@db/lex"),
        ("databaseUrl", "postgresql://lex:hunter2?x@db/lex"),
        ("databaseUrl", "postgresql+psycopg://le/x:hunter2@db:5432/lex"),
        ("databaseUrl", "postgresql://lex@db/lex?password=hunter2"),
        ("databaseUrl", "postgresql://lex@db/lex?sslmode=require&sslpassword=hunter2"),
        ("databaseUrl", "postgresql:///lex?host=/run&Password=hunter2"),
        ("redisUrl", "redis://:hunter2/x@redis:6379/0"),
        ("redisUrl", "rediss://lex:hunter2@redis"),
        ("redisUrl", "redis://redis:6379/0?password=hunter2"),
        ("redisUrl", "unix:///run/redis.sock?db=1&password=hunter2"),
        ("redisUrl", "redis+cluster://:hunter2@one,two"),
        ("redisUrl", "valkey+sentinel://one,two/master?sentinel_password=hunter2"),
    ],
)
def test_a_password_in_a_url_is_refused_wherever_it_is(name: str, url: str) -> None:
    said = refusal({name: url})

    assert f"{name} has a password" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("databaseUrl", "postgresql://lex@db:5432/lex?sslmode=verify-full&passfile=/etc/pgpass"),
        ("databaseUrl", "postgresql://db/lex?require_auth=password"),
        ("databaseUrl", "postgresql://passwords.example.com:5432/secret"),
        ("redisUrl", "rediss://lex@redis:6379/0?ssl_ca_certs=/etc/ca.pem"),
        ("redisUrl", "rediss+cluster://lex@one:6379,two:6379"),
        ("redisUrl", "valkeys+sentinel://lex@one:26379,two:26379/mymaster/0"),
    ],
)
def test_a_url_without_a_password_is_none(name: str, url: str) -> None:
    assert texts({name: url})


@pytest.mark.parametrize(
    "allowed",
    ["", "*", "lex.example.com", "lex, LEX.example.com:443", "*.example.com,lex", "*.com"],
)
def test_an_ingress_whose_host_is_allowed_is_accepted(allowed: str) -> None:
    assert texts({**RELEASES["ingress"], "allowedHosts": allowed})


def test_every_refusal_is_among_them() -> None:
    files = sorted((CHART / "templates").glob("_refusals*.tpl"))
    text = "".join(path.read_text() for path in files)
    sentences = re.findall(r'fail \(?(?:printf )?"(.+?)"', text)
    said = "".join(refusal({**good, **change}) for good, change, _ in REFUSED.values())

    assert len(sentences) > 20
    for sentence in sentences:
        assert re.search(re.sub("%[ds]", ".+", re.escape(sentence)), said), sentence
