"""Which tests share a worker in a parallel run of the system tests.

A file's tests share its fixtures, and all that need the Docker engine share the engine and the
images in it. pytest-xdist's own `--dist loadgroup` cannot say so: with pytest 9.2 its groups have
no effect, since they are written into an attribute of a test that pytest no longer reads.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling  # type: ignore[import-untyped]  # it has none

DOCKER = "tests/system/docker/"


class SharedFixtures(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    def _split_scope(self, nodeid: str) -> str:
        return DOCKER if nodeid.startswith(DOCKER) else nodeid.partition("::")[0]


def scheduler(config: pytest.Config, log: Any) -> SharedFixtures | None:
    """None leaves the choice to pytest-xdist."""
    return SharedFixtures(config, log) if config.getoption("dist") == "loadscope" else None


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """What takes longest begins first, or one worker would be left alone with it at the end."""
    return sorted(items, key=lambda item: not item.nodeid.startswith(DOCKER))
