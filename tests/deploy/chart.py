"""The chart, rendered by Helm's own engine, and its test releases (sets of values)."""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "lex"
GOLDEN = Path(__file__).with_name("golden")

Values = dict[str, Any]
Manifest = dict[str, Any]


def values_of(name: str) -> Values:
    loaded: Values = yaml.safe_load((CHART / name).read_text())
    return loaded


SHARED: Values = {
    "databaseUrl": "",
    "secretKeys": ["GROQ_API_KEY", "DATABASE_URL", "REDIS_URL"],
    "replicaCount": 3,
}
"""The values that several pods need."""

BEHIND_A_PROXY: Values = {"forwardedAllowIps": "10.0.0.0/8", "allowAnonymousIngress": True}

RELEASES: dict[str, Values] = {
    "defaults": {},
    "prod": values_of("values-prod.yaml"),
    "memory": {"databaseUrl": "memory://"},
    "postgres-alone": {"databaseUrl": "postgresql://lex@db/lex", "migrateOnStart": True},
    "shared": SHARED,
    "pooler": {
        **SHARED,
        "replicaCount": 40,
        "secretKeys": [*SHARED["secretKeys"], "MIGRATE_DATABASE_URL"],
        "database": {"maxConnections": 0},
        "databasePoolSize": 2,
        "databasePrepared": "off",
        "migrateOnStart": True,
    },
    "workers": {"webConcurrency": 4, "redisUrl": "redis://redis:6379/0"},
    "no-limits": {
        "databaseUrl": "postgresql://lex@db/lex",
        "replicaCount": 2,
        "rateLimitSession": "none",
        "rateLimitClient": "none",
        "rateLimitSessions": "none",
    },
    "ingress": {**BEHIND_A_PROXY, "ingress": {"enabled": True, "hosts": ["lex.example.com"]}},
    "httproute": {
        **BEHIND_A_PROXY,
        "httpRoute": {
            "enabled": True,
            "parentRefs": [{"name": "gateway", "namespace": "gateways", "sectionName": "https"}],
            "hostnames": ["lex.example.com"],
            "annotations": {"team": "sales"},
        },
    },
    "load-balancer": {
        "allowAnonymousIngress": True,
        "service": {"type": "LoadBalancer", "annotations": {"team": "sales"}},
    },
    "autoscaling": {**SHARED, "autoscaling": {"enabled": True, "targetCpuPercent": 0}},
    "keda": {**SHARED, "keda": {"enabled": True}},
    "external-secret": {
        "externalSecret": {"enabled": True, "storeName": "vault"},
        "secretName": "lex-secrets",
    },
    "api-keys": {
        "auth": "api_key",
        "apiKeysSecretName": "lex-api-keys",
        "pricesConfigMapName": "lex-prices",
        "tokenBudgetSession": "50000/day",
        "tokenBudgetClient": "100000/day;20000/hour",
        "costBudgetClient": "2.50/day",
        "secretKeys": ["GROQ_API_KEY", "SESSION_COOKIE_SECRET"],
        "testTokenSecretName": "lex-test",
    },
    "jwt-secret": {
        "auth": "jwt",
        "jwtIssuer": "https://id.example.com/",
        "jwtAudience": "lex",
        "jwtAlgorithms": "HS256",
        "secretKeys": ["GROQ_API_KEY", "SESSION_COOKIE_SECRET", "JWT_SECRET", "LOG_HASH_KEY"],
    },
    "disruptions": {**SHARED, "podDisruptionBudget": {"enabled": True, "maxUnavailable": "25%"}},
    "network-policy": {
        **SHARED,
        "otelExporterOtlpEndpoint": "http://collector:4317",
        "networkPolicy": {
            "enabled": True,
            "postgresTo": [{"podSelector": {"matchLabels": {"app": "postgres"}}}],
            "extraEgress": [{"ports": [{"port": 8080}], "to": [{"podSelector": {}}]}],
        },
    },
    "network-policy-of-urls": {
        "databaseUrl": "postgresql://lex@pooler.data:6432/lex",
        "redisUrl": "redis+sentinel://one.data,two.data:26380/lex",
        "groqBaseUrl": "http://gateway.models.svc:8080",
        "weatherProvider": "open-meteo",
        "otelExporterOtlpEndpoint": "https://collector.example.com",
        "networkPolicy": {"enabled": True, "redisPort": 6380},
    },
    "closed": {"networkPolicy": {"enabled": True, "metricsFrom": [], "dnsTo": [], "httpsTo": []}},
    "watched": {
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
        "dashboards": {"enabled": True, "annotations": {"grafana_folder": "Lex"}},
    },
    "operators": {
        **SHARED,
        "secretKeys": ["LOG_HASH_KEY"],
        "secretRefs": {
            "DATABASE_URL": {"name": "lex-db-app", "key": "uri"},
            "REDIS_URL": {"name": "lex-redis", "key": "url"},
            "GROQ_API_KEY": {"name": "models", "key": "groq"},
        },
        "caBundles": {
            "default": {"configMapName": "company-ca", "key": "ca-bundle.pem"},
            "postgres": {"secretName": "lex-db-ca"},
            "redis": {"secretName": "lex-redis-tls"},
        },
        "serviceAccount": {
            "annotations": {"eks.amazonaws.com/role-arn": "arn:aws:iam::1:role/lex"}
        },
    },
    "password-alone": {
        "databaseUrl": "postgresql://lex@db/lex?sslmode=verify-full",
        "secretRefs": {"PGPASSWORD": {"name": "db", "key": "password"}},
        "caBundles": {"default": {"configMapName": "company-ca"}},
    },
    "openshift": {
        "podSecurityContext": {"runAsUser": None, "runAsGroup": None, "fsGroup": None},
        "serviceAccount": {"create": False, "name": "runner"},
    },
    "extended": {
        **SHARED,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
        "startupProbe": {"failureThreshold": 60},
        "readinessProbe": {"periodSeconds": 2, "successThreshold": 2},
        "livenessProbe": {"tcpSocket": {"port": "http"}},
        "lifecycle": {"postStart": {"exec": {"command": ["true"]}}},
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["10.0.0.10"], "options": [{"name": "ndots", "value": "2"}]},
        "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["db"]}],
        "schedulerName": "bin-packing",
        "runtimeClassName": "gvisor",
        "serviceAccount": {"automountToken": True},
        "extraEnvFrom": [{"configMapRef": {"name": "proxies"}}],
        "extraVolumes": [{"name": "sockets", "emptyDir": {}}],
        "extraVolumeMounts": [{"name": "sockets", "mountPath": "/sockets"}],
        "extraContainers": [{"name": "logs", "image": "registry.example.com/logs:1"}],
        "initContainers": [
            {
                "name": "proxy",
                "image": "registry.example.com/sql-proxy:1",
                "restartPolicy": "Always",
                "volumeMounts": [{"name": "sockets", "mountPath": "/sockets"}],
            }
        ],
        "extraObjects": [
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": '{{ include "lex.fullname" . }}-extra'},
                "data": {"namespace": "{{ .Release.Namespace }}"},
            },
            "apiVersion: v1\nkind: Secret\nmetadata: {name: {{ .Release.Name }}-text}\n",
        ],
    },
    "numbers": {
        "image": {"tag": 20261128},
        "podAnnotations": {"number": "1"},
        "extraEnv": [{"name": "ODD", "value": "a: {b} #'\"\\ $(HOME) {{ no }}\n"}],
    },
    "particular": {
        "fullnameOverride": "assistant",
        "commonLabels": {"team": "sales"},
        "podLabels": {"tier": "front"},
        "podAnnotations": {"note": "yes"},
        "image": {"digest": "sha256:" + 64 * "0", "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "topologySpreadKeys": [],
        "priorityClassName": "high",
        "extraEnv": [{"name": "TZ", "value": "UTC"}],
        "persistence": {"existingClaim": "old"},
        "maxStreams": 1_000_000,
        "chunkFlushMs": 12.5,
        "host": "::",
        "allowedHosts": "*.example.com,lex:8000",
        "terminationGracePeriodSeconds": 300,
        "otelExporterOtlpEndpoint": "http://collector:4318",
        "otelExporterOtlpProtocol": "http/protobuf",
        "otelResourceAttributes": "team=sales",
        "logLevelFile": "/data/log-level",
        "traceContext": "follow",
        "traceSlowSeconds": 5,
        "otelTracesSampler": "traceidratio",
        "otelTracesSamplerArg": "0.1",
        "otelInstrumentationGenaiCaptureMessageContent": "true",
    },
}


@cache
def _chart() -> helm_python.Chart:
    return helm_python.Chart.load(CHART)


def texts(values: Values) -> dict[str, str]:
    """The rendered templates by path, without empty ones.

    Raises:
        helm_python.HelmError: the chart refuses the values.
    """
    return dict(_texts(json.dumps(values)))


@cache
def _texts(values: str) -> dict[str, str]:
    return rendered(_chart(), json.loads(values))


def rendered(chart: helm_python.Chart, values: Values) -> dict[str, str]:
    chart.validate_schema(values)
    made = chart.render(values, name="lex", namespace="shop")
    return {
        path.removeprefix("lex/templates/"): text
        for path, text in sorted(made.items())
        if text.strip()
    }


def manifests(values: Values) -> list[Manifest]:
    return loaded(texts(values))


def loaded(made: dict[str, str]) -> list[Manifest]:
    return [
        manifest
        for path, text in made.items()
        if path.endswith(".yaml")
        for manifest in yaml.safe_load_all(text)
        if manifest
    ]


def one(values: Values, kind: str) -> Manifest:
    (found,) = [manifest for manifest in manifests(values) if manifest["kind"] == kind]
    return found


def pod(values: Values) -> Manifest:
    spec: Manifest = one(values, "Deployment")["spec"]["template"]["spec"]
    return spec


def settings(values: Values) -> dict[str, str]:
    """The data of the service's ConfigMap."""
    (text,) = [text for path, text in texts(values).items() if path == "configmap.yaml"]
    data: dict[str, str] = yaml.safe_load(text)["data"]
    return data


def variables(values: Values) -> dict[str, str]:
    """The environment of the service, with a plausible value for each variable from a Secret."""
    environment: dict[str, str] = dict(settings(values))
    for variable in pod(values)["containers"][0]["env"]:
        environment[variable["name"]] = variable.get("value") or _secret(variable["name"])
    return environment


def _secret(name: str) -> str:
    known = {"DATABASE_URL": "postgresql://lex:secret@db/lex", "REDIS_URL": "redis://:secret@redis"}
    known["MIGRATE_DATABASE_URL"] = known["DATABASE_URL"]
    return known.get(name) or hashlib.sha256(name.encode()).hexdigest()
