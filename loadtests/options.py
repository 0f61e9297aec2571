"""What a run is told beside Locust's own options, how it comes to its end, and its exit code."""

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
"""For the last reports of workers."""


@on(events.init_command_line_parser)
def _add_options(parser: LocustArgumentParser) -> None:
    parser.add_argument(
        "--scenarios",
        default="",
        help="which, with weights: `Chat:3, Tools`; else the classes that are named, or all",
    )
    parser.add_argument(
        "--real-model",
        action="store_true",
        help="ask plain questions; otherwise they tell the stand-in what to answer",
    )
    parser.add_argument("--think-seconds", type=float, default=1.0, help="between turns of a user")
    parser.add_argument("--hold-seconds", type=float, default=120.0, help="a held stream takes")
    parser.add_argument(
        "--back-seconds", type=float, default=3.0, help="within which all come back after a cut"
    )
    parser.add_argument(
        "--session-limit", type=int, default=20, help="RATE_LIMIT_SESSION of the service, a minute"
    )
    default = Objectives()
    parser.add_argument(
        "--failed-percent",
        type=float,
        default=default.failed_percent,
        help="of an entry that may fail",
    )
    parser.add_argument(
        "--first-chunk-seconds",
        type=float,
        default=default.first_chunk_seconds,
        help="to a first chunk, beyond what the script takes",
    )
    parser.add_argument(
        "--first-chunk-percent",
        type=float,
        default=default.first_chunk_percent,
        help="of first chunks within that time",
    )


@on(events.init)
def _choose(environment: Environment, **_: Any) -> None:
    """Has Locust run what `--scenarios` says, which unlike its own way fits into a profile."""
    wanted = options(environment).scenarios
    if wanted:
        known: Any = environment.available_user_classes
        environment.user_classes = [_weighted(known, each) for each in wanted.split(",")]


def _weighted(known: Mapping[str, type[User]], wanted: str) -> type[User]:
    name, _, weight = wanted.strip().partition(":")
    if name not in known:
        raise SystemExit(f"There is no scenario {name}; there are {', '.join(known)}.")
    known[name].weight = int(weight or 1)
    return known[name]


@on(events.test_stop)
def _let_finish(environment: Environment, **_: Any) -> None:
    """A master on its way out gives its workers half a second, and loses every stream that takes
    longer; by itself it waits for them only if the web page says stop.
    """
    runner = environment.runner
    if isinstance(runner, MasterRunner) and options(environment).headless:
        runner.send_message("quit")
        deadline = time.monotonic() + environment.stop_timeout + REPORT_SECONDS
        while len(runner.clients) and time.monotonic() < deadline:
            time.sleep(0.5)


@on(events.quitting)
def _judge(environment: Environment, **_: Any) -> None:
    """Locust's own rule, that one failure in a million is one too many, is not ours."""
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
    broken = [f"a scenario broke: {row['msg']}" for row in environment.runner.exceptions.values()]
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
