"""Locust's events and options, with types."""

import argparse
from collections.abc import Callable
from typing import Any, TypeVar

from locust.env import Environment
from locust.event import EventHook

Listener = TypeVar("Listener", bound=Callable[..., None])


def on(hook: EventHook) -> Callable[[Listener], Listener]:
    """Decorator that registers a listener for an event."""

    def listening(listener: Listener) -> Listener:
        hook.add_listener(listener)  # type: ignore[no-untyped-call]
        return listener

    return listening


def options(environment: Environment) -> argparse.Namespace:
    """Options of the command line, the profile or the web page; a worker has its master's."""
    given: Any = environment.parsed_options
    if not isinstance(given, argparse.Namespace):
        raise TypeError("scenarios can only run under `locust`")
    return given
