"""A real Prometheus from Debian's package that scrapes, evaluates our rules and answers queries."""

import asyncio
import json
import math
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from infrastructure.ports import free_port
from tests.operations.rules import DEPLOY
from tests.waiting import waiting

EVERY_SECONDS = 1


@dataclass(frozen=True)
class Pod:
    """A target to scrape, with its address and name."""

    name: str
    port: int


@dataclass(frozen=True)
class Prometheus:
    client: httpx.AsyncClient

    async def values(self, expression: str) -> list[float]:
        """The current values of an expression, one per series; NaN values are dropped."""
        result = (await self._get("query", query=expression))["result"]
        values = [float(series["value"][1]) for series in result]
        return [value for value in values if not math.isnan(value)]

    async def labelled(self, expression: str) -> list[tuple[dict[str, str], float]]:
        """The current series of an expression with their labels; NaN values are dropped."""
        result = (await self._get("query", query=expression))["result"]
        found = [(series["metric"], float(series["value"][1])) for series in result]
        return [(labels, value) for labels, value in found if not math.isnan(value)]

    async def ranges(
        self, expression: str, *, begun: float, ended: float, step: float
    ) -> list[tuple[dict[str, str], list[tuple[float, float]]]]:
        """The values of each series at each step between two Unix times, with their times."""
        span = {"start": f"{begun:.3f}", "end": f"{ended:.3f}", "step": f"{step:.3f}"}
        result = (await self._get("query_range", query=expression, **span))["result"]
        return [
            (series["metric"], [(float(at), float(value)) for at, value in series["values"]])
            for series in result
        ]

    async def until(self, expression: str, *, seconds: float = 20) -> list[float]:
        """Wait until an expression has values. Empty if it has none in time."""
        try:
            async with asyncio.timeout(seconds):
                while not (values := await self.values(expression)):
                    await asyncio.sleep(0.2)
        except TimeoutError:
            return []
        return values

    async def broken_rules(self) -> list[str]:
        """The errors of rules that Prometheus could not evaluate."""
        groups = (await self._get("rules"))["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert rules
        return [f"{rule['name']}: {rule}" for rule in rules if rule["health"] == "err"]

    async def exemplars(self, expression: str) -> list[str]:
        """The trace ids of a histogram's exemplars."""
        found: Any = await self._get("query_exemplars", query=expression, start="0", end="4e9")
        return [each["labels"]["trace_id"] for series in found for each in series["exemplars"]]

    async def _get(self, what: str, **params: str) -> Any:
        answer = (await self.client.get(f"/api/v1/{what}", params=params)).json()
        assert answer["status"] == "success", answer
        return answer["data"]


@asynccontextmanager
async def running_prometheus(
    folder: Path,
    pods: Sequence[Pod],
    *,
    namespace: str,
    job: str,
    rules: str = f"{DEPLOY}/prometheus/rules/*.yml",
    every_seconds: float = EVERY_SECONDS,
) -> AsyncIterator[Prometheus]:
    """Run Prometheus with these rules, by default all of `deploy/`, unchanged.

    It scrapes and evaluates `every_seconds`.
    """
    program = shutil.which("prometheus")
    assert program, "prometheus is missing: make system-deps"
    port = free_port()
    configuration = folder / "prometheus.yml"
    # JSON is valid YAML.
    configured = _configuration(pods, namespace, job, rules, f"{every_seconds * 1000:.0f}ms")
    configuration.write_text(json.dumps(configured))
    running = await asyncio.create_subprocess_exec(
        program,
        f"--config.file={configuration}",
        f"--storage.tsdb.path={folder}/prometheus",
        f"--web.listen-address=127.0.0.1:{port}",
        "--enable-feature=exemplar-storage",
        "--log.level=error",
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
            await until_ready(client, running)
            yield Prometheus(client)
    finally:
        running.terminate()
        await running.wait()


def _configuration(
    pods: Sequence[Pod], namespace: str, job: str, rules: str, every: str
) -> dict[str, Any]:
    targets = [
        {"targets": [f"127.0.0.1:{pod.port}"], "labels": {"namespace": namespace, "pod": pod.name}}
        for pod in pods
    ]
    return {
        "global": {
            "scrape_interval": every,
            "scrape_timeout": every,
            "evaluation_interval": every,
        },
        "rule_files": [rules],
        "scrape_configs": [{"job_name": job, "static_configs": targets}],
    }


async def until_ready(client: httpx.AsyncClient, running: asyncio.subprocess.Process) -> None:
    """Wait for a program of the Prometheus project, which all say alike that they are ready."""
    async with waiting():
        while True:
            assert running.returncode is None, "it did not start"
            try:
                if (await client.get("/-/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
