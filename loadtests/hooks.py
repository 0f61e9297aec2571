"""Locust's events and options, with the types that it does not give them."""

import argparse
from collections.abc import Callable
from typing import Any, TypeVar

from locust.env import Environment
from locust.event import EventHook

Listener = TypeVar("Listener", bound=Callable[..., None])


def on(hook: EventHook) -> Callable[[Listener], Listener]:
    """Decorates what is called when that happens."""

    def listening(listener: Listener) -> Listener:
        hook.add_listener(listener)  # type: ignore[no-untyped-call]
        return listener

    return listening


def options(environment: Environment) -> argparse.Namespace:
    """Of the command line, the profile or the web page; on a worker, its master's."""
    given: Any = environment.parsed_options
    if not isinstance(given, argparse.Namespace):
        raise TypeError("scenarios are run by `locust`")
    return given
