"""The number of users over `--run-time`, up to `--users`."""

import argparse
import math
from abc import abstractmethod
from typing import ClassVar

from locust import LoadTestShape
from locust.runners import Runner

from loadtests.hooks import options


class Shape(LoadTestShape):
    """Users come and go at `--spawn-rate`, and end their turn first (`--stop-timeout`)."""

    abstract: ClassVar[bool] = True
    use_common_options: ClassVar[bool] = True

    @abstractmethod
    def curve(self, share: float) -> float:
        """The share of the users at a share of the run."""

    @property
    def running(self) -> Runner:
        if self.runner is None:
            raise RuntimeError("a shape is only used during a run")
        return self.runner

    @property
    def given(self) -> argparse.Namespace:
        return options(self.running.environment)

    @property
    def share(self) -> float:
        """The share of the run that is over."""
        seconds: float = self.get_run_time()  # type: ignore[no-untyped-call]
        return seconds / float(self.given.run_time)

    def tick(self) -> tuple[int, float] | None:
        if self.share >= 1:
            return None
        return math.ceil(self.given.num_users * self.curve(self.share)), self.given.spawn_rate
