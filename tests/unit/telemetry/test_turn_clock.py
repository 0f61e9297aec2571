"""The clock of a turn: one owner for each second, whatever nests and overlaps."""

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from backend.telemetry import turn_clock
from backend.telemetry.turn_clock import NO_TURN, Part, Sending, TurnClock


class Time:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.stood = 0.0

    def pass_by(self, seconds: float) -> None:
        self.now += seconds

    def stand_still(self, seconds: float) -> None:
        self.now += seconds
        self.stood += seconds


@pytest.fixture
def at() -> Time:
    return Time()


@pytest.fixture
def clock(at: Time) -> TurnClock:
    return TurnClock(lambda _: at.stood, now=lambda: at.now)


@pytest.fixture
def entered(clock: TurnClock) -> Iterator[TurnClock]:
    with turn_clock.entered(clock):
        yield clock


def spent(clock: TurnClock) -> dict[Part, float]:
    """The parts that took time."""
    return {part: round(seconds, 6) for part, seconds in clock.seconds.items() if seconds}


def test_what_nobody_claims_belongs_to_nobody(clock: TurnClock, at: Time) -> None:
    at.pass_by(2)

    assert spent(clock) == {Part.UNATTRIBUTED: 2}


def test_an_inner_block_interrupts_the_outer_one(entered: TurnClock, at: Time) -> None:
    with turn_clock.part(Part.MODEL):
        at.pass_by(1)
        with turn_clock.part(Part.LEX):
            at.pass_by(0.25)
        at.pass_by(1)
    at.pass_by(0.5)

    assert spent(entered) == {Part.MODEL: 2, Part.LEX: 0.25, Part.UNATTRIBUTED: 0.5}


def test_a_block_that_raises_ends(entered: TurnClock, at: Time) -> None:
    with pytest.raises(ValueError, match="broken"), turn_clock.part(Part.STORE):
        at.pass_by(1)
        raise ValueError("broken")
    at.pass_by(1)

    assert spent(entered) == {Part.STORE: 1, Part.UNATTRIBUTED: 1}


def test_a_wait_is_the_loops_while_it_stands_still(entered: TurnClock, at: Time) -> None:
    with turn_clock.part(Part.MODEL):
        at.pass_by(1)
        at.stand_still(2)

    assert spent(entered) == {Part.MODEL: 1, Part.EVENT_LOOP: 2}


def test_our_own_work_is_ours_even_if_the_loop_stands_still_for_it(
    entered: TurnClock, at: Time
) -> None:
    with turn_clock.part(Part.LEX):
        at.stand_still(2)
    with turn_clock.part(Part.MODEL):
        at.pass_by(1)

    assert spent(entered) == {Part.LEX: 2, Part.MODEL: 1}


def test_a_stall_counts_no_longer_than_the_wait(at: Time) -> None:
    at.stand_still(5)
    clock = TurnClock(lambda _: at.stood, now=lambda: at.now)
    at.stood += 3  # a stall before the turn that is booked late
    at.pass_by(1)

    assert spent(clock) == {Part.EVENT_LOOP: 1}


def test_the_queue_takes_its_seconds_from_the_call_alone(entered: TurnClock, at: Time) -> None:
    with turn_clock.part(Part.MODEL):
        at.pass_by(3)
    before = entered.seconds_in(Part.MODEL)
    with turn_clock.part(Part.MODEL):
        at.pass_by(2)
    entered.has_queued(1.5, model_seconds_before=before)

    assert spent(entered) == {Part.MODEL: 3.5, Part.QUEUE: 1.5}


@pytest.mark.parametrize("reported", [100.0, float("inf")])
def test_no_queue_is_longer_than_its_call(entered: TurnClock, at: Time, reported: float) -> None:
    with turn_clock.part(Part.MODEL):
        at.pass_by(2)
    entered.has_queued(reported, model_seconds_before=0)

    assert spent(entered) == {Part.QUEUE: 2}


@pytest.mark.parametrize("reported", [-1.0, float("nan"), float("-inf")])
def test_a_queue_that_cannot_be_is_none(entered: TurnClock, at: Time, reported: float) -> None:
    with turn_clock.part(Part.MODEL):
        at.pass_by(2)
    entered.has_queued(reported, model_seconds_before=0)

    assert spent(entered) == {Part.MODEL: 2}


def test_tools_at_the_same_time_count_once(entered: TurnClock, at: Time) -> None:
    with turn_clock.part(Part.TOOLS), entered.tool(), entered.tool():
        at.pass_by(1)

    assert spent(entered) == {Part.TOOLS: 1}


def test_the_store_counts_when_all_running_tools_wait_for_it(entered: TurnClock, at: Time) -> None:
    with turn_clock.part(Part.TOOLS), entered.tool():
        with entered.tool(), entered.store():
            at.pass_by(1)  # the first tool still works
            with entered.store():
                at.pass_by(2)
        with entered.store():
            at.pass_by(4)

    assert spent(entered) == {Part.TOOLS: 1, Part.STORE: 6}


def test_sending_to_a_client_that_does_not_read_is_the_clients(
    entered: TurnClock, at: Time
) -> None:
    sending = Sending(entered)
    with turn_clock.part(Part.MODEL):
        with sending:
            at.pass_by(2)
        at.pass_by(1)

    assert spent(entered) == {Part.CLIENT: 2, Part.MODEL: 1}


def test_a_clock_that_has_stopped_stays(clock: TurnClock, at: Time) -> None:
    clock.stop()
    at.pass_by(1)
    with Sending(clock):
        at.pass_by(1)

    assert spent(clock) == {}


def test_outside_a_turn_nothing_counts() -> None:
    before = NO_TURN.seconds
    with turn_clock.part(Part.MODEL), turn_clock.current().store():
        time.sleep(0.001)

    assert turn_clock.current() is NO_TURN
    assert NO_TURN.seconds == before


@pytest.mark.parametrize("seed", range(20))
def test_the_parts_always_add_up(seed: int, clock: TurnClock, at: Time) -> None:
    chance, begun = random.Random(seed), at.now  # noqa: S311 - no secret
    sending = Sending(clock)

    def nest(depth: int) -> None:
        for _ in range(chance.randrange(1, 4)):
            with ExitStack() as stack:
                match chance.randrange(4):
                    case 0:
                        stack.enter_context(clock.tool())
                    case 1:
                        stack.enter_context(clock.store())
                    case 2:
                        stack.enter_context(sending)
                    case _:
                        before = clock.switch(chance.choice(list(Part)))
                        stack.callback(clock.switch, before)
                chance.choice([at.pass_by, at.stand_still])(chance.uniform(0, 2))
                if depth:
                    nest(depth - 1)
                if chance.random() < 0.2:
                    clock.has_queued(chance.uniform(0, 3), model_seconds_before=0)

    nest(4)

    assert clock.total_seconds == pytest.approx(at.now - begun)
    assert min(clock.seconds.values()) >= 0
