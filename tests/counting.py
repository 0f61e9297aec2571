"""Reads the metrics of this process."""

from prometheus_client import REGISTRY


class Growth:
    """By how much counters have grown since this object was made."""

    def __init__(self) -> None:
        self._before = {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in REGISTRY.collect()
            for sample in family.samples
        }

    def of(self, name: str, **labels: str) -> float:
        """The growth of all series of this name with these labels."""
        return sum(
            sample.value - self._before.get((name, tuple(sorted(sample.labels.items()))), 0.0)
            for family in REGISTRY.collect()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )
