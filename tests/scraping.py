"""Reads `/metrics` by name and labels."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import httpx
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain
from prometheus_client.samples import Sample

OPENMETRICS = "application/openmetrics-text; version=1.0.0"


@dataclass(frozen=True)
class Scrape:
    types: Mapping[str, str]
    """The types of the metric families by name."""
    samples: tuple[Sample, ...]

    def value(self, name: str, **labels: str) -> float:
        """The sum of all series with these labels. At least one must exist."""
        found = [sample.value for sample in self._with(name, labels)]
        assert found, (name, labels)
        return sum(found)

    def exemplars(self, name: str, **labels: str) -> list[str]:
        """The trace ids of a histogram's exemplars."""
        buckets = self._with(f"{name}_bucket", labels)
        return [each.exemplar.labels["trace_id"] for each in buckets if each.exemplar]

    def values(self, name: str, label: str) -> dict[str, float]:
        """The values of a metric, by the values of a label."""
        labels = {sample.labels[label] for sample in self._with(name, {})}
        return {each: self.value(name, **{label: each}) for each in labels}

    def _with(self, name: str, labels: Mapping[str, str]) -> list[Sample]:
        return [
            sample
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]


async def scrape(client: httpx.AsyncClient, url: str = "/metrics", *, accept: str = "") -> Scrape:
    answer = await client.get(url, headers={"Accept": accept})
    assert answer.status_code == 200, answer.text
    is_open = answer.headers["content-type"].startswith("application/openmetrics-text")
    assert is_open is bool(accept)
    read: Callable[[str], Iterable[Metric]] = openmetrics if is_open else plain
    families = list(read(answer.text))
    return Scrape(
        types={family.name: family.type for family in families},
        samples=tuple(sample for family in families for sample in family.samples),
    )
