"""All workers export their spans, and none waits for a collector."""

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc  # type: ignore[import-untyped]
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from backend.telemetry.exporting import CLOSING_SECONDS
from infrastructure.groq_standin import Standin
from infrastructure.ports import free_port
from tests.deploy.servers import GUNICORN, PLAIN, Deployed, deployed
from tests.otlp import Collector, collecting
from tests.processes import ROOT, environment
from tests.waiting import LIMIT_SECONDS

TURN = "invoke_agent lex"


async def turns_of(service: Deployed, number: int) -> None:
    async def ask(session_id: str) -> None:
        # Each on its own connection, so that both workers get some.
        body = {"query": "Hello", "session_id": session_id}
        headers = {"connection": "close"}
        answer = await service.client.post("/query", json=body, headers=headers)
        assert answer.status_code == 200

    await asyncio.gather(*(ask(f"s{number}") for number in range(number)))


async def test_both_workers_send_every_span_before_they_end(
    standin: Standin, tmp_path: Path
) -> None:
    standin.script({"text": "Hi."}, times=None)
    with collecting() as collector:
        where = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "60000"}
        async with deployed(GUNICORN, standin, tmp_path, **where) as service:
            workers = service.workers
            await turns_of(service, 40)

    turns = collector.named(TURN)
    assert len(turns) == len(collector.named("POST /query")) == 40
    instances = {turn.resource["service.instance.id"] for turn in turns}
    assert {int(instance.split("-")[-2]) for instance in instances} == set(workers)


@contextmanager
def collecting_over_grpc() -> Iterator[Collector]:
    collector = Collector()

    class Servicer(TraceServiceServicer):
        def Export(self, request: ExportTraceServiceRequest, context: object) -> object:  # noqa: ARG002, N802
            from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

            collector.take(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(2))
    add_TraceServiceServicer_to_server(Servicer(), server)  # type: ignore[no-untyped-call]
    collector.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        server.stop(0).wait()


async def test_spans_are_sent_over_grpc_as_well(standin: Standin, tmp_path: Path) -> None:
    with collecting_over_grpc() as collector:
        where = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        }
        async with deployed(PLAIN, standin, tmp_path, **where) as service:
            await turns_of(service, 3)

    assert len(collector.named(TURN)) == 3


@pytest.fixture(params=["away", "silent"])
def nobody(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a collector that is missing, or accepts connections and never answers."""
    if request.param == "away":
        yield f"http://127.0.0.1:{free_port()}"
        return
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_a_collector_that_cannot_be_reached_delays_the_exit_only_a_little(
    protocol: str, nobody: str, standin: Standin, tmp_path: Path
) -> None:
    where = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": nobody,
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    async with deployed(PLAIN, standin, tmp_path, **where) as service:
        for _ in range(5):
            await turns_of(service, 3)
            await asyncio.sleep(0.3)
        begun = time.monotonic()
        service.process.terminate()
        assert await service.ended() == 0
        took = time.monotonic() - begun

    assert took < CLOSING_SECONDS + 3
    lines = service.log.read_text().splitlines()
    # One line per minute, no matter how often the export is tried, and one at the end.
    assert len([line for line in lines if "opentelemetry" in line]) <= 2
    assert len(service.lines("traces_not_sent")) == 1


def test_without_an_endpoint_nothing_of_the_sdk_is_imported(tmp_path: Path) -> None:
    program = """if True:
        import asyncio, sys
        from backend.main import app

        async def start() -> None:
            async with app.router.lifespan_context(app):
                names = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "grpc")
                print([name for name in sys.modules if name.startswith(names)])

        asyncio.run(start())
    """
    for given in ({}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}):
        where = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"} if given else {}
        finished = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=environment(DATABASE_URL=f"sqlite:///{tmp_path}/lex.db", **where, **given),
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=True,
        )
        assert finished.stdout == "[]\n"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "carrier-pigeon"),
        ("OTEL_TRACES_EXPORTER", "zipkin"),
        ("OTEL_METRICS_EXPORTER", "otlp"),
        ("OTEL_METRICS_EXPORTER", "otlp,prometheus"),
        ("OTEL_LOGS_EXPORTER", "OTLP"),
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://user:hunter2@127.0.0.1:9/v1/metrics"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "http://127.0.0.1:9/v1/logs"),
    ],
)
def test_what_cannot_be_used_stops_the_start_with_one_line(
    name: str, value: str, tmp_path: Path
) -> None:
    where = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", name: value}
    finished = subprocess.run(
        [sys.executable, "-m", "backend.server", "--port", str(free_port())],
        cwd=ROOT,
        env=environment(DATABASE_URL=f"sqlite:///{tmp_path}/lex.db", **where),
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )

    (line,) = [line for line in finished.stderr.splitlines() if name in line]
    assert f"lex: {name} cannot be used" in line
    assert "hunter2" not in finished.stderr
    assert finished.returncode == 3
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"},
        {"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_LOGS_EXPORTER": "console"},
        {"OTEL_SDK_DISABLED": "true", "OTEL_METRICS_EXPORTER": "otlp"},
    ],
)
async def test_variables_that_ask_for_nothing_more_are_accepted(
    variables: dict[str, str], standin: Standin, tmp_path: Path
) -> None:
    async with deployed(PLAIN, standin, tmp_path, **variables) as service:
        assert (await service.client.get("/readyz")).status_code == 200
