"""The metrics in the format that the scraper asks for: of this worker or, when there are several,
of all of them.

With `PROMETHEUS_MULTIPROC_DIR` in the environment, from before this package is imported, each
worker keeps its numbers in files of that directory, and any of them reports the sum.
"""

import os

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


def exposition(accept: str = "") -> tuple[bytes, str]:
    """The metrics and their media type. Takes milliseconds, more with more workers.

    OpenMetrics, which alone has exemplars, when `accept` asks for it.
    """
    encode, media_type = choose_encoder(accept)
    return encode(_registry()), media_type


def _registry() -> CollectorRegistry:
    if DIRECTORY not in os.environ:
        return REGISTRY
    all_workers = CollectorRegistry()
    MultiProcessCollector(all_workers)  # type: ignore[no-untyped-call]  # it has none
    return all_workers
