"""The order in which services are measured, and the joining of time slices."""

import os
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from loadtests.bench.forms import SMOKE, Form
from loadtests.bench.measures import Figures, Probe
from loadtests.bench.processes import Server
from loadtests.bench.sides import NGINX, OBVIOUS, Side
from loadtests.bench.windows import Watch, measured

TWICE = replace(SMOKE, windows=2, slices=2)
HERE = Server("http://127.0.0.1:9", os.getpid(), Path("none"))


def side(name: str) -> Side:
    return Side.of(name, HERE)


async def test_sides_are_asked_by_turns_and_each_goes_first_as_often() -> None:
    asked: list[str] = []

    async def take(side: Side, _: Form) -> Figures:
        asked.append(side.name)
        return {"turn": 1.0}

    sides = [side(OBVIOUS), side("sqlite"), side("redis")]
    await measured((Probe("", take),), sides, form=TWICE, watch=Watch(HERE))

    there, back = [OBVIOUS, "sqlite", "redis"], ["redis", "sqlite", OBVIOUS]
    assert asked == there + back + back + there


async def test_a_window_is_the_mean_of_its_slices() -> None:
    numbers = count(1)

    async def take(_: Side, __: Form) -> Figures:
        return {"turn": float(next(numbers))}

    found = await measured((Probe("", take),), [side(OBVIOUS)], form=TWICE, watch=Watch(HERE))

    assert found == {"turn": {OBVIOUS: [1.5, 3.5]}}


@pytest.mark.parametrize(("yardstick", "other"), [(OBVIOUS, NGINX), (NGINX, OBVIOUS)])
async def test_a_measure_is_taken_of_its_own_yardstick_only(yardstick: str, other: str) -> None:
    async def take(_: Side, __: Form) -> Figures:
        return {"token": 1.0}

    sides = [side(yardstick), side("sqlite"), side(other)]
    found = await measured((Probe("", take, yardstick),), sides, form=SMOKE, watch=Watch(HERE))

    assert set(found["token"]) == {yardstick, "sqlite"}


async def test_progress_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    async def take(_: Side, __: Form) -> Figures:
        return {"turn": 1.5, "tool round": 2.5}

    await measured((Probe("turns", take),), [side("sqlite")], form=TWICE, watch=Watch(HERE))

    assert capsys.readouterr().out.splitlines() == [
        "0:00 window 1 of 2, turns: sqlite 1.5 and 2.5",
        "0:00 window 2 of 2, turns: sqlite 1.5 and 2.5",
    ]
