"""The set-up of a drill: one Lex, everything that it depends on, and a Prometheus that watches."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from infrastructure.groq_standin import Standin
from loadtests.drill.compressed import COMPRESSION, SCRAPED_EVERY, write_rules
from loadtests.drill.weather import Weather, served_weather
from tests.deploy.servers import PLAIN, Deployed, deployed
from tests.operations.rules import DEPLOY
from tests.prometheus import Pod, Prometheus, running_prometheus
from tests.redis_server import RedisServer, running_redis

MODELS = ("llama-3.3-70b-versatile", "openai/gpt-oss-120b", "openai/gpt-oss-20b")

CLIENT_LIMIT = 200
"""Queries that one address may send in `LIMIT_SECONDS`. The customers of the drill share one."""

LIMIT_SECONDS = 10

SEND_TIMEOUT_SECONDS = 5

NAMESPACE, JOB = "drill", "lex"


@dataclass(frozen=True)
class Stage:
    service: Deployed
    standin: Standin
    weather: Weather
    redis: RedisServer
    store: Path
    """The SQLite file of the service."""
    prometheus: Prometheus


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    """Start everything in an empty folder, and stop it at the end."""
    async with AsyncExitStack() as stack:
        standin = await stack.enter_async_context(Standin.serve())
        redis = await stack.enter_async_context(running_redis(folder))
        weather = await stack.enter_async_context(served_weather(folder))
        service = await stack.enter_async_context(
            deployed(
                PLAIN,
                standin,
                folder,
                REDIS_URL=redis.url,
                WEATHER_PROVIDER="open-meteo",
                HTTPS_PROXY=weather.proxy,
                SSL_CERT_FILE=str(weather.authority),
                RATE_LIMIT_CLIENT=f"{CLIENT_LIMIT}/{LIMIT_SECONDS} second",
                RATE_LIMIT_SESSION="none",
                RATE_LIMIT_SESSIONS="none",
                MODEL_NAME=MODELS[0],
                PRICES_FILE=str(_free_of_charge(folder)),
                MODEL_FALLBACKS=",".join(MODELS[1:]),
                TOKEN_BUDGET_CLIENT="none",  # noqa: S106 - not a password
                SEND_TIMEOUT_SECONDS=str(SEND_TIMEOUT_SECONDS),
                SUMMARY_IDLE_SECONDS="0",
            )
        )
        rules = folder / "rules"
        rules.mkdir()
        prometheus = await stack.enter_async_context(
            running_prometheus(
                folder,
                [Pod("lex-0", service.port)],
                namespace=NAMESPACE,
                job=JOB,
                rules=write_rules(DEPLOY / "prometheus" / "rules", rules),
                every_seconds=SCRAPED_EVERY / COMPRESSION,
            )
        )
        yield Stage(service, standin, weather, redis, folder / "lex.db", prometheus)


def _free_of_charge(folder: Path) -> Path:
    """Prices of 0: in compressed time the traffic of an hour would cost as much as that of 30."""
    prices = ['source = "https://example.com"', "date = 2026-01-01"]
    prices += [f'[models."{model}"]\ninput = 0.0\noutput = 0.0' for model in MODELS]
    (folder / "prices.toml").write_text("\n".join(prices))
    return folder / "prices.toml"


def emptied(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


async def pass_by(minutes: float) -> None:
    """Let minutes of Prometheus' time pass."""
    await asyncio.sleep(minutes * 60 / COMPRESSION)
