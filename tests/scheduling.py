"""Decides which system tests share a worker in a parallel run.

The tests of a file share a worker, because they share fixtures. So do all tests that need the
Docker engine. pytest-xdist's own `--dist loadgroup` cannot express this: with pytest 9.2 its
groups have no effect, because pytest no longer reads the attribute that they are stored in.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling  # type: ignore[import-untyped]  # xdist has no types

DOCKER = "tests/system/docker/"


class SharedFixtures(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    def _split_scope(self, nodeid: str) -> str:
        return DOCKER if nodeid.startswith(DOCKER) else nodeid.partition("::")[0]


def scheduler(config: pytest.Config, log: Any) -> SharedFixtures | None:
    """Our scheduler for `--dist loadscope`; None for pytest-xdist's own."""
    return SharedFixtures(config, log) if config.getoption("dist") == "loadscope" else None


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Put the longest tests first, so that no worker runs them alone at the end."""
    return sorted(items, key=lambda item: not item.nodeid.startswith(DOCKER))
