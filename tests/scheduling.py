"""Decides which system tests share a worker in a parallel run, and which start first.

The tests of a file share a worker, because they share fixtures. So do all tests that need the
Docker engine. Any worker can run any test of the chat page, because each has its own browser.

pytest-xdist's `--dist loadgroup` cannot express this. With pytest 9.2 its groups have no effect,
because pytest no longer reads the attribute that they are stored in.
"""

from collections.abc import Sequence
from typing import Any

import pytest
from xdist.scheduler.loadscope import LoadScopeScheduling  # type: ignore[import-untyped]  # xdist has no types

DOCKER = "tests/system/docker/"
BROWSER = "tests/browser/"

LONG = (
    DOCKER,
    *(f"tests/system/test_{name}.py" for name in ("shared_logs", "shared_limits", "telemetry")),
    *(f"tests/system/test_{name}.py" for name in ("rules", "chaos", "drill", "bench", "costs")),
    *(f"tests/system/test_{name}.py" for name in ("phoenix", "later_version", "public_clients")),
    *(f"tests/deploy/test_{name}.py" for name in ("exporting", "dead_workers", "restarts")),
    "tests/deploy/test_chart.py",
)
"""Files and folders whose tests keep a worker busy for half a minute or more."""


class SharedFixtures(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no types
    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(BROWSER):
            return nodeid
        return DOCKER if nodeid.startswith(DOCKER) else nodeid.partition("::")[0]


def scheduler(config: pytest.Config, log: Any) -> SharedFixtures | None:
    """Our scheduler for `--dist loadscope`; None for pytest-xdist's own."""
    return SharedFixtures(config, log) if config.getoption("dist") == "loadscope" else None


def longest_first(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Put long files first and single tests last, so that no worker is left alone at the end."""
    return sorted(items, key=lambda item: _place(item.nodeid))


def _place(nodeid: str) -> int:
    if nodeid.startswith(BROWSER):
        return len(LONG) + 1
    return next((place for place, path in enumerate(LONG) if nodeid.startswith(path)), len(LONG))
