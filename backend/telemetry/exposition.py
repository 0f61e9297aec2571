"""Renders the metrics for a scraper, for one worker or for all workers together.

If `PROMETHEUS_MULTIPROC_DIR` is set before this package is imported, each worker keeps its numbers
in files of that directory. Any worker then reports the total of all.
"""

import gzip
import os
import re
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from backend.telemetry.shared_counts import SharedCounts
from backend.telemetry.worker_deaths import deaths
from backend.telemetry.worker_processes import WorkerProcesses

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


class WorkerDeaths(Collector):
    """The deaths that the arbiter has counted; see `worker_deaths`."""

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "lex_worker_deaths",
            "Workers that died, by reason: a signal, the arbiter's timeout, or an exception.",
            labels=["reason"],
        )
        for reason, number in deaths().items():
            family.add_metric([reason], number)
        return [family]


REGISTRY.register(WorkerDeaths())


def exposition(accept: str = "", accept_encoding: str = "") -> tuple[bytes, dict[str, str]]:
    """Render the metrics for two headers of a request; returns the body with its headers.

    The format is OpenMetrics if `accept` asks for it: only OpenMetrics has exemplars. Takes
    milliseconds, and longer with more workers.
    """
    encode, media_type = choose_encoder(accept)
    body = encode(_registry())
    headers = {"Content-Type": media_type, "Vary": "Accept, Accept-Encoding"}
    if _accepts_gzip(accept_encoding):
        # The lowest level: the higher ones take several times as long and save little more.
        body = gzip.compress(body, compresslevel=1, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return body, headers


def _accepts_gzip(accept_encoding: str) -> bool:
    """Whether the header lists `gzip`, and not with a weight of zero."""
    for listed in accept_encoding.lower().split(","):
        coding, _, weight = listed.partition(";")
        if coding.strip() == "gzip":
            return not re.fullmatch(r"q=0(\.0*)?", weight.strip())
    return False


def _registry() -> CollectorRegistry:
    if DIRECTORY not in os.environ:
        return REGISTRY
    all_workers = CollectorRegistry()
    directory = Path(os.environ[DIRECTORY])
    for collector in (SharedCounts(directory), WorkerDeaths(), WorkerProcesses(directory)):
        all_workers.register(collector)
    return all_workers
