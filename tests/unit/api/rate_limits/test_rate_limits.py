"""The local tier of rate limits, and the combination of both tiers."""

import asyncio
from collections.abc import Sequence

import pytest

from backend.api.rate_limits.local import LocalLimits, MovingWindows
from backend.api.rate_limits.redis_pipeline import OutOfReach
from backend.api.rate_limits.tiers import TieredLimits
from backend.api.rate_limits.windows import Quota, Standing, Verdict, Window, quotas
from tests.fakes import Clock


def windows(session: str = "s1", client: str = "c1", **texts: str) -> list[Window]:
    per_session = quotas("session", texts.get("per_session", "2/minute"))
    per_client = quotas("client", texts.get("per_client", "3/minute"))
    return [
        *(Window(quota, session) for quota in per_session),
        *(Window(quota, client) for quota in per_client),
    ]


def remaining(verdict: Verdict) -> list[int]:
    return [standing.remaining for standing in verdict.standings]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("20/minute;300/day", ["session-minute", "session-day"]),
        ("5/10 minutes", ["session-10-minute"]),
        ("5/minute;5/minute", ["session-minute"]),
        ("", []),
    ],
)
def test_every_window_of_a_limit_has_a_name(text: str, names: list[str]) -> None:
    assert [quota.name for quota in quotas("session", text)] == names


def test_a_window_lets_through_what_it_holds_and_says_when_there_is_room_again() -> None:
    clock = Clock()
    limits = LocalLimits(clock)

    first = limits.charge_now(windows())
    clock.sleep(20)
    second = limits.charge_now(windows())
    refused = limits.charge_now(windows())

    assert [first.is_granted, second.is_granted, refused.is_granted] == [True, True, False]
    assert [remaining(first), remaining(second)] == [[1, 2], [0, 1]]
    assert [standing.quota.limit for standing in refused.full] == ["session"]
    assert refused.retry_after == 40


def test_the_time_to_wait_is_exact() -> None:
    clock = Clock()
    limits = LocalLimits(clock)
    limits.charge_now(windows(per_session="1/minute"))
    refused = limits.charge_now(windows(per_session="1/minute"))

    clock.sleep(refused.retry_after - 0.001)
    early = limits.charge_now(windows(per_session="1/minute"))
    clock.sleep(0.001)
    in_time = limits.charge_now(windows(per_session="1/minute"))

    assert (early.is_granted, in_time.is_granted) == (False, True)


def test_a_refusal_by_one_window_spends_nothing_in_the_others() -> None:
    limits = LocalLimits(Clock())
    for _ in range(2):
        limits.charge_now(windows())

    for _ in range(10):
        limits.charge_now(windows("s1"))

    assert remaining(limits.charge_now(windows("s2"))) == [1, 0]


def test_the_wait_is_for_the_last_of_several_full_windows() -> None:
    clock = Clock()
    limits = LocalLimits(clock)
    both = windows(per_session="1/hour", per_client="1/minute")
    limits.charge_now(both)

    assert limits.charge_now(both).retry_after == 3600


def test_windows_move() -> None:
    clock = Clock()
    limits = LocalLimits(clock)
    granted = []
    for _ in range(5):
        granted.append(limits.charge_now(windows()).is_granted)
        clock.sleep(25)

    assert granted == [True, True, False, True, True]


def test_without_limits_everything_is_let_through_and_nothing_is_said() -> None:
    verdict = LocalLimits(Clock()).charge_now([])

    assert verdict.is_granted
    assert verdict.fields == {}


def test_keys_that_nobody_uses_any_more_are_forgotten() -> None:
    clock = Clock()
    storage = MovingWindows(clock=clock)
    for number in range(1000):
        storage.acquire_entry(f"old {number}", 5, 60)
    clock.sleep(30)
    storage.acquire_entry("old 0", 5, 60)
    clock.sleep(31)

    for number in range(1000):
        storage.acquire_entry(f"new {number}", 5, 60)

    assert len(storage) == 1001
    assert storage.get_moving_window("old 0", 5, 60)[1] == 1


def test_fields_name_each_policy_and_how_much_of_it_is_left() -> None:
    clock = Clock()
    limits = LocalLimits(clock)
    limits.charge_now(windows())
    clock.sleep(17.5)

    fields = limits.charge_now(windows()).fields

    assert fields == {
        "RateLimit-Policy": '"session-minute";q=2;w=60, "client-minute";q=3;w=60',
        "RateLimit": '"session-minute";r=0;t=43, "client-minute";r=1;t=43',
    }


class OtherWorkers:
    """A shared tier with scripted verdicts."""

    def __init__(self) -> None:
        self.is_there = True
        self.left = 100
        self.asked = 0

    async def charge(self, windows: Sequence[Window]) -> Verdict:
        self.asked += 1
        if not self.is_there:
            raise OutOfReach
        self.left -= 1
        return Verdict(self.left >= 0, [Standing(_quota(windows), max(self.left, 0), 7.0)])


def _quota(windows: Sequence[Window]) -> Quota:
    return windows[0].quota


async def test_the_count_of_all_workers_decides() -> None:
    shared = OtherWorkers()
    shared.left = 1
    limits = TieredLimits(LocalLimits(Clock()), shared)

    granted, refused = await limits.charge(windows()), await limits.charge(windows())

    assert (granted.is_granted, remaining(granted)) == (True, [0])
    assert (refused.is_granted, refused.retry_after) == (False, 7.0)


async def test_a_refusal_by_all_workers_spends_nothing_here() -> None:
    shared, local = OtherWorkers(), LocalLimits(Clock())
    shared.left = 0
    await TieredLimits(local, shared).charge(windows())

    assert remaining(local.look(windows())) == [2, 3]


async def test_without_the_others_a_worker_decides_by_what_it_has_let_through() -> None:
    shared = OtherWorkers()
    limits = TieredLimits(LocalLimits(Clock()), shared)
    await limits.charge(windows())
    shared.is_there = False

    verdicts = [await limits.charge(windows()) for _ in range(3)]

    assert [verdict.is_granted for verdict in verdicts] == [True, False, False]


async def test_a_refusal_here_asks_no_other_worker() -> None:
    shared = OtherWorkers()
    limits = TieredLimits(LocalLimits(Clock()), shared)

    verdicts = [await limits.charge(windows()) for _ in range(5)]

    assert [verdict.is_granted for verdict in verdicts] == [True, True, False, False, False]
    assert shared.asked == 2


class DistantWorkers(OtherWorkers):
    """Takes a moment, in which others may ask."""

    async def charge(self, windows: Sequence[Window]) -> Verdict:
        verdict = await super().charge(windows)
        await asyncio.sleep(0)
        return verdict


async def test_of_many_at_once_a_worker_lets_through_what_its_own_windows_hold() -> None:
    limits = TieredLimits(LocalLimits(Clock()), DistantWorkers())

    verdicts = await asyncio.gather(*[limits.charge(windows()) for _ in range(5)])

    assert [verdict.is_granted for verdict in verdicts] == [True, True, False, False, False]
