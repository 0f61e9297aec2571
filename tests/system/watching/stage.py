"""The set-up: two pods with the stand-in for Groq as upstream, and what watches them.

Redis and Prometheus are real. Prometheus has the rules of `deploy/`. A collector keeps the spans.
"""

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from infrastructure.groq_standin import Standin
from tests.deploy.servers import GUNICORN, PLAIN, Deployed, deployed
from tests.otlp import Collector
from tests.prometheus import Pod, Prometheus, running_prometheus
from tests.redis_server import RedisServer, running_redis

NAMESPACE, JOB = "shop", "lex"
LLAMA, OLDER, OSS = "llama-3.3-70b-versatile", "older-model", "openai/gpt-oss-120b"
SESSION_LIMIT = 6
"""The limit of queries per session and minute."""


@dataclass(frozen=True)
class Stage:
    """The running parts.

    `pair` has two workers. `single` has one, and a weather service that never answers.
    """

    pair: Deployed
    single: Deployed
    standin: Standin
    redis: RedisServer
    prometheus: Prometheus
    pair_store: Path
    single_store: Path


@asynccontextmanager
async def staged(folder: Path, collector: Collector) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        standin = await stack.enter_async_context(Standin.serve())
        redis = await stack.enter_async_context(running_redis(folder))
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "REDIS_URL": redis.url,
            "MODEL_FALLBACKS": f"{OLDER},{OSS}",
            "RATE_LIMIT_SESSION": f"{SESSION_LIMIT}/minute",
            "HEARTBEAT_SECONDS": "0.5",
            "TOOL_TIMEOUT_SECONDS": "2",
            "LEASE_SECONDS": "3",
            "DRAIN_SECONDS": "1",
            "SUMMARY_IDLE_SECONDS": "0",
        }
        unheard = {
            # A turn waits at most half of this for a model that is unavailable.
            "TURN_TIMEOUT_SECONDS": "8",
            "WEATHER_PROVIDER": "open-meteo",
            "HTTPS_PROXY": f"http://127.0.0.1:{silent.getsockname()[1]}",
        }
        pods: list[Deployed] = []
        for name, command, more in (("pair", GUNICORN, {}), ("single", PLAIN, unheard)):
            (folder / name).mkdir()
            pod = deployed(command, standin, folder / name, **variables, **more)
            pods.append(await stack.enter_async_context(pod))
        pair, single = pods
        scraped = [Pod("lex-pair", pair.port), Pod("lex-single", single.port)]
        prometheus = await stack.enter_async_context(
            running_prometheus(folder, scraped, namespace=NAMESPACE, job=JOB)
        )
        assert await prometheus.until("count(lex_build_info) == 2")
        stores = [folder / name / "lex.db" for name in ("pair", "single")]
        yield Stage(pair, single, standin, redis, prometheus, *stores)
