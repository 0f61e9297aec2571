"""Locust in containers, as compose starts it: its page, its workers and their measurements."""

import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from infrastructure.ports import free_port
from tests.docker_engine import DockerEngine
from tests.processes import ROOT
from tests.system.images import Images, build_load, build_parts

pytestmark = pytest.mark.timeout(900)  # the first test builds the images

FILES = [ROOT / "infrastructure" / f"compose{part}.yaml" for part in ("", ".load")]


@pytest.fixture(scope="module")
def page(
    engine: DockerEngine,
    images: Images,  # noqa: ARG001 - builds them
) -> Iterator[httpx.Client]:
    """A client for the master's page, once both workers have connected."""
    build_parts(engine)
    build_load(engine)
    port = {"PORT": str(free_port()), "PAGE_PORT": str(free_port())}
    try:
        engine.compose(FILES, "up", "--detach", "--no-build", variables=port)
        with httpx.Client(base_url="http://127.0.0.1:8089", timeout=10) as client:
            until(client, lambda told: len(told["workers"]) == 2)
            yield client
    finally:
        engine.compose(FILES, "down", "--volumes", "--timeout", "1", variables=port)


def until(page: httpx.Client, is_so: Any) -> dict[str, Any]:
    """The state that the page reports, once it fulfils the condition."""
    deadline = time.monotonic() + 120
    told: dict[str, Any] = {}
    while time.monotonic() < deadline:
        try:
            told = page.get("/stats/requests").raise_for_status().json()
            if is_so(told):
                return told
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError(told)


def test_a_run_is_started_on_the_page_and_every_worker_asks_lex(page: httpx.Client) -> None:
    started = page.post("/swarm", data={"user_count": 16, "spawn_rate": 16, "think_seconds": 0.5})

    told = until(page, lambda told: asked(told).get("websocket: stream", 0) > 2)
    page.post("/stop").raise_for_status()
    assert started.json()["success"]
    assert {worker["user_count"] for worker in told["workers"]} == {8}
    assert {"chat: stream", "tools: stream", "resume: back"} <= asked(told).keys()
    assert told["errors"] == []


def asked(told: dict[str, Any]) -> dict[str, int]:
    return {entry["name"]: entry["num_requests"] for entry in told["stats"]}


def test_nothing_is_written_and_nobody_in_it_is_root(
    engine: DockerEngine, page: httpx.Client
) -> None:
    assert page.get("/").status_code == 200
    containers = engine.compose(FILES, "ps", "--quiet", "locust", "locust-worker").split()

    assert len(containers) == 3
    for container in containers:
        assert engine.docker("diff", container) == ""
        assert engine.docker("exec", container, "id", "--user").strip() == "10003"
