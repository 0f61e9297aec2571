"""Made-up results of runs."""

from typing import Any

from loadtests.bench.results import Results
from loadtests.bench.windows import Windows

WINDOWS: Windows = {
    "turn": {"obvious": [4.0, 5.0, 4.0], "sqlite": [4.0, 4.0, 3.0]},
    "tool round": {"sqlite": [1.0, 1.0, 2.0]},
    "token": {"nginx": [10.0, 10.0, 10.0], "sqlite": [12.0, 14.0, 30.0]},
    "starts": {"obvious": [200.0, 100.0, 200.0], "sqlite": [250.0, 130.0, 260.0]},
    "memory": {"obvious": [90.0, 90.0, 90.0], "sqlite": [54.0, 54.0, 54.0]},
}


def results(windows: Windows | None = None, **other: Any) -> Results:
    given = {"client_busy": 0.2, "standin_busy": 0.3, "client_waited": 0.1, **other}
    return Results(
        form="full", windows=windows or WINDOWS, failures=given.pop("failures", {}), **given
    )


def changed(measure: str, *values: float) -> Windows:
    """The same run with other values for one measure of Lex."""
    return {**WINDOWS, measure: {**WINDOWS[measure], "sqlite": list(values)}}
