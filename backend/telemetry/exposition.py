"""Renders the metrics for a scraper, for one worker or for all workers together.

If `PROMETHEUS_MULTIPROC_DIR` is set before this package is imported, each worker keeps its numbers
in files of that directory. Any worker then reports the total of all.
"""

import os

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"


def exposition(accept: str = "") -> tuple[bytes, str]:
    """Render the metrics; returns them with their media type.

    The format is OpenMetrics if `accept` asks for it: only OpenMetrics has exemplars. Takes
    milliseconds, and longer with more workers.
    """
    encode, media_type = choose_encoder(accept)
    return encode(_registry()), media_type


def _registry() -> CollectorRegistry:
    if DIRECTORY not in os.environ:
        return REGISTRY
    all_workers = CollectorRegistry()
    MultiProcessCollector(all_workers)  # type: ignore[no-untyped-call]  # the library has no types
    return all_workers
