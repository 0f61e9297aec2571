"""A real Alertmanager with the shipped configuration routes alerts and keeps back consequences."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from infrastructure.ports import free_port
from tests.operations.rules import ALERTS, DEPLOY, Rule
from tests.prometheus import until_ready
from tests.waiting import waiting

CONFIGURATION = DEPLOY / "alertmanager" / "alertmanager.yml"

PRODUCTION = {"namespace": "prod", "job": "lex"}
STAGING = {"namespace": "staging", "job": "lex"}


def program(name: str) -> str:
    found = shutil.which(name)
    assert found, f"{name} is missing: make system-deps"
    return found


@dataclass(frozen=True)
class Alertmanager:
    client: httpx.AsyncClient

    async def receive(self, *alerts: Mapping[str, str]) -> None:
        """Send alerts as Prometheus does."""
        answer = await self.client.post(
            "/api/v2/alerts", json=[{"labels": dict(labels)} for labels in alerts]
        )
        answer.raise_for_status()

    async def told(self) -> dict[tuple[str, str], list[str]]:
        """The receivers of each alert by name and namespace; none if it is kept back."""
        alerts = (await self.client.get("/api/v2/alerts")).json()
        return {
            (alert["labels"]["alertname"], alert["labels"].get("namespace", "")): (
                []
                if alert["status"]["inhibitedBy"]
                else [receiver["name"] for receiver in alert["receivers"]]
            )
            for alert in alerts
        }


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Alertmanager]:
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        program("prometheus-alertmanager"),
        f"--config.file={CONFIGURATION}",
        f"--storage.path={folder}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        "--log.level=error",
    )
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await until_ready(client, process)
            yield Alertmanager(client)
    finally:
        process.terminate()
        await process.wait()


def alert(name: str, of: Mapping[str, str], **more: str) -> dict[str, str]:
    """The labels of an alert as its rule has them."""
    rule = next(
        rule for rule in ALERTS if rule.name == name and more.items() <= rule.labels.items()
    )
    return {"alertname": name, **rule.labels, **of}


async def until_told(
    alertmanager: Alertmanager, expected: Mapping[tuple[str, str], list[str]]
) -> None:
    told: dict[tuple[str, str], list[str]] = {}
    try:
        async with waiting():
            while (told := await alertmanager.told()) != expected:
                await asyncio.sleep(0.05)
    except TimeoutError:
        assert told == expected


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: "-".join(rule.identity))
def test_each_alert_goes_to_the_receiver_of_its_severity(rule: Rule) -> None:
    labels = {"alertname": rule.name, **rule.labels, **PRODUCTION}
    expected = {"page": "pages", "ticket": "tickets"}[rule.labels["severity"]]

    tested = subprocess.run(
        [
            *(program("amtool"), "config", "routes", "test", f"--config.file={CONFIGURATION}"),
            f"--verify.receivers={expected}",
            *(f"{name}={value}" for name, value in labels.items()),
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_amtool_finds_no_fault_with_the_file() -> None:
    checked = subprocess.run(
        [program("amtool"), "check-config", str(CONFIGURATION)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


async def test_without_a_model_one_page_is_sent(tmp_path: Path) -> None:
    async with running(tmp_path) as alertmanager:
        await alertmanager.receive(
            alert("LexNoModelReachable", PRODUCTION),
            alert("LexTurnsBurn", PRODUCTION, window="1h"),
            alert("LexTurnsRefused", PRODUCTION),
            alert("LexBreakerOpen", PRODUCTION) | {"gen_ai_request_model": "ill"},
            alert("LexRedisDown", PRODUCTION),
            alert("LexTurnsRefused", STAGING),
        )

        await until_told(
            alertmanager,
            {
                ("LexNoModelReachable", "prod"): ["pages"],
                ("LexTurnsBurn", "prod"): [],
                ("LexTurnsRefused", "prod"): [],
                ("LexBreakerOpen", "prod"): [],
                ("LexRedisDown", "prod"): ["tickets"],
                ("LexTurnsRefused", "staging"): ["pages"],
            },
        )


async def test_without_a_store_its_consequences_are_kept_back(tmp_path: Path) -> None:
    async with running(tmp_path) as alertmanager:
        await alertmanager.receive(
            alert("LexStoreDown", PRODUCTION),
            alert("LexTurnsRefused", PRODUCTION),
            alert("LexFirstChunkBurn", PRODUCTION, window="6h"),
            alert("LexToolFailing", PRODUCTION),
            alert("LexDrainLong", PRODUCTION) | {"instance": "10.0.0.1:9090"},
            alert("LexBreakerOpen", PRODUCTION),
        )

        await until_told(
            alertmanager,
            {
                ("LexStoreDown", "prod"): ["pages"],
                ("LexTurnsRefused", "prod"): [],
                ("LexFirstChunkBurn", "prod"): [],
                ("LexToolFailing", "prod"): [],
                ("LexDrainLong", "prod"): [],
                ("LexBreakerOpen", "prod"): ["tickets"],
            },
        )


async def test_a_page_keeps_back_the_ticket_of_a_longer_window(tmp_path: Path) -> None:
    async with running(tmp_path) as alertmanager:
        await alertmanager.receive(
            alert("LexTurnsBurn", PRODUCTION, window="1h"),
            alert("LexTurnsBurn", STAGING, window="3d"),
        )
        await until_told(
            alertmanager,
            {("LexTurnsBurn", "prod"): ["pages"], ("LexTurnsBurn", "staging"): ["tickets"]},
        )

        await alertmanager.receive(alert("LexTurnsBurn", STAGING, window="6h"))

        kept_back = {"filter": 'severity="ticket"', "active": "false"}
        async with waiting():
            while not (await alertmanager.client.get("/api/v2/alerts", params=kept_back)).json():
                await asyncio.sleep(0.05)


async def test_a_lex_outside_kubernetes_has_no_namespace_and_one_page(tmp_path: Path) -> None:
    async with running(tmp_path) as alertmanager:
        await alertmanager.receive(
            alert("LexRedisDown", {"job": "lex"}), alert("LexSharedLimitsLost", {"job": "lex"})
        )

        await until_told(
            alertmanager, {("LexRedisDown", ""): ["tickets"], ("LexSharedLimitsLost", ""): []}
        )
