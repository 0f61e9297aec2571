"""The options of a run beside Locust's own, its end, and its exit code."""

import logging
import time
from collections.abc import Mapping
from typing import Any

from locust import User, events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtests.hooks import on, options
from loadtests.objectives import Measured, Objectives, missed

logger = logging.getLogger(__name__)

REPORT_SECONDS = 10
"""Time for the last reports of workers."""


@on(events.init_command_line_parser)
def _add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument(
        "--scenarios",
        default="",
        help="scenarios with weights: `Chat:3, Tools`; default: the named classes, or all",
    )
    parser.add_argument(
        "--real-model",
        action="store_true",
        help="ask plain questions, without scripts for the stand-in",
    )
    parser.add_argument("--think-seconds", type=float, default=1.0, help="between turns")
    parser.add_argument("--hold-seconds", type=float, default=120.0, help="of a held stream")
    parser.add_argument(
        "--back-seconds",
        type=float,
        default=3.0,
        help="for all to come back after a cut",
    )
    parser.add_argument(
        "--session-limit", type=int, default=20, help="limit a minute in RATE_LIMIT_SESSION"
    )
    default = Objectives()
    parser.add_argument(
        "--failed-percent",
        type=float,
        default=default.failed_percent,
        help="share of an entry that may fail",
    )
    parser.add_argument(
        "--first-chunk-seconds",
        type=float,
        default=default.first_chunk_seconds,
        help="time to a first chunk, beyond the delay of the script",
    )
    parser.add_argument(
        "--first-chunk-percent",
        type=float,
        default=default.first_chunk_percent,
        help="share of first chunks within that time",
    )


@on(events.init)
def _choose(environment: Environment, **_: Any) -> None:
    """Select `--scenarios`. Locust's own way to name classes does not work in a profile."""
    wanted = options(environment).scenarios
    if wanted:
        known: Any = environment.available_user_classes
        environment.user_classes = [_weighted(known, each) for each in wanted.split(",")]


def _weighted(known: Mapping[str, type[User]], wanted: str) -> type[User]:
    name, _, weight = wanted.strip().partition(":")
    if name not in known:
        raise SystemExit(f"Unknown scenario {name}: use {', '.join(known)}.")
    known[name].weight = int(weight or 1)
    return known[name]


@on(events.test_stop)
def _let_finish(environment: Environment, **_: Any) -> None:
    """Wait for the streams of the workers.

    By default, a master that quits gives its workers half a second, and loses longer streams. It
    waits for them only if the web page stops the run.
    """
    runner = environment.runner
    if isinstance(runner, MasterRunner) and options(environment).headless:
        runner.send_message("quit")
        deadline = time.monotonic() + environment.stop_timeout + REPORT_SECONDS
        while len(runner.clients) and time.monotonic() < deadline:
            time.sleep(0.5)


@on(events.quitting)
def _judge(environment: Environment, **_: Any) -> None:
    """Set the exit code by the objectives, instead of Locust's rule that any failure is one."""
    if isinstance(environment.runner, WorkerRunner) or environment.runner is None:
        return
    given = options(environment)
    objectives = Objectives(
        given.failed_percent, given.first_chunk_seconds, given.first_chunk_percent
    )
    scripted = {
        getattr(each, "scenario", ""): getattr(each, "first_chunk_seconds", 0.0)
        for each in environment.user_classes
    }
    sentences = missed(
        _measured(environment, objectives), objectives, {} if given.real_model else scripted
    )
    broken = [f"a scenario raised: {row['msg']}" for row in environment.runner.exceptions.values()]
    for sentence in (*sentences, *broken):
        logger.error("Missed: %s", sentence)
    environment.process_exit_code = 1 if sentences or broken else 0


def _measured(environment: Environment, objectives: Objectives) -> list[Measured]:
    share = objectives.first_chunk_percent / 100
    return [
        Measured(
            entry.name,
            entry.num_requests,
            entry.num_failures,
            entry.get_response_time_percentile(share) / 1000,
        )
        for entry in environment.stats.entries.values()
    ]
