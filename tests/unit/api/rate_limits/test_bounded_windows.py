"""The bounded memory of the rate limiter, and which keys it forgets first."""

import tracemalloc
from hashlib import blake2b

import pytest

from backend.api.rate_limits.bounded_windows import MOST_KEYS, BoundedWindows
from backend.api.rate_limits.local import LocalLimits, MovingWindows
from backend.api.rate_limits.windows import Window, quotas
from tests.fakes import Clock


def bounded(*, limit: int = 4, most_keys: int = 3, most_requests: int = 1000) -> BoundedWindows:
    return BoundedWindows(
        limit=limit,
        seconds=60,
        clock=Clock(),
        most_keys=most_keys,
        most_requests=most_requests,
    )


def use(windows: BoundedWindows, **times: int) -> None:
    for key, number in times.items():
        for _ in range(number):
            windows.acquire(key, 1)


def used(windows: BoundedWindows, *keys: str) -> list[int]:
    return [windows.standing(key)[1] for key in keys]


def test_the_key_that_has_used_the_least_is_forgotten_first() -> None:
    windows = bounded()
    use(windows, some=2, least=1, full=4)

    use(windows, more=3)

    assert used(windows, "some", "least", "full", "more") == [2, 0, 4, 3]


def test_the_oldest_of_equally_used_keys_is_forgotten_first() -> None:
    windows = bounded()
    use(windows, first=1, second=1, third=1)

    use(windows, fourth=1)

    assert used(windows, "first", "second", "third", "fourth") == [0, 1, 1, 1]


def test_no_number_of_fresh_keys_pushes_out_one_at_its_limit() -> None:
    windows = bounded()
    use(windows, full=4)

    for number in range(1000):
        use(windows, **{f"fresh {number}": 1})

    assert used(windows, "full") == [4]
    assert not windows.acquire("full", 1)
    assert len(windows) == 3


def test_where_all_are_at_their_limit_a_fresh_one_is_not_remembered() -> None:
    windows = bounded()
    use(windows, one=4, two=4, three=4)

    is_granted = windows.acquire("fresh", 1)

    assert is_granted
    assert used(windows, "one", "two", "three", "fresh") == [4, 4, 4, 0]


def test_remembered_requests_are_bounded_as_keys_are() -> None:
    windows = bounded(limit=50, most_keys=1000, most_requests=150)
    use(windows, busy=50)

    for number in range(200):
        use(windows, **{f"other {number}": 1})

    assert used(windows, "busy") == [50]
    assert len(windows) == 101


def test_a_limit_beyond_the_bound_holds() -> None:
    windows = bounded(limit=100, most_requests=10)
    use(windows, busy=100)

    use(windows, other=1)

    assert used(windows, "busy", "other") == [100, 1]
    assert not windows.acquire("busy", 1)


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_key_that_is_used_again_is_one_key(number: int) -> None:
    windows = bounded()

    use(windows, one=number)

    assert len(windows) == 1
    assert used(windows, "one") == [number]


def test_many_sessions_push_out_no_client() -> None:
    limits = LocalLimits(Clock())
    (per_client,) = quotas("client", "2/day")
    (per_session,) = quotas("session", "2/day")
    for _ in range(2):
        limits.charge_now([Window(per_client, "c1")])

    for number in range(MOST_KEYS + 100):
        limits.charge_now([Window(per_session, f"s{number}")])

    assert not limits.look([Window(per_client, "c1")]).is_granted


def test_sessions_without_end_cost_what_the_bound_says() -> None:
    storage = MovingWindows(clock=Clock())
    tracemalloc.start()
    try:
        for number in range(3 * MOST_KEYS):
            name = blake2b(str(number).encode(), digest_size=16).hexdigest()
            storage.acquire_entry(f"LIMITER/session/{name}/300/1/day", 300, 86_400)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(storage) == MOST_KEYS
    assert taken < 300 * MOST_KEYS
