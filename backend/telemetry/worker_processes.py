"""The metrics of the processes of several workers, as the client library has them for a single one.

Each has the label `pid`. A sum over workers would fall when one dies, which looks like a restart of
the counter, and `rate()` would count the processor time of the others again.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.registry import Collector


class WorkerProcesses(Collector):
    """Reads `/proc` for each live worker. `directory` is where the workers count."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        families: dict[str, Metric] = {}
        for pid in sorted(self._living()):
            for metric in _process(pid):
                family = families.setdefault(metric.name, _empty(metric))
                for sample in metric.samples:
                    family.add_sample(sample.name, {"pid": str(pid)}, sample.value)
        return families.values()

    def _living(self) -> Iterator[int]:
        """The ids of workers that live: when one dies, the arbiter deletes its gauges."""
        for file in self._directory.glob("gauge_livesum_*.db"):
            yield int(file.stem.rpartition("_")[2])


def _process(pid: int) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: pid, registry=CollectorRegistry()).collect()


def _empty(metric: Metric) -> Metric:
    return Metric(metric.name, metric.documentation, metric.type)
