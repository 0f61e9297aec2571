"""Cookies are sealed and expire."""

from base64 import urlsafe_b64decode
from datetime import UTC, datetime

import pytest

from backend.api.auth.cookie import Cookies
from backend.api.auth.identity import Identity
from backend.domain.errors import NotAuthenticated
from tests.fakes import Clock

OLD, NEW = "o" * 32, "n" * 32
WHO = Identity(user_id="123", key="abc")


def cookies(*secrets: str, context: str = "jwt", clock: Clock | None = None) -> Cookies:
    return Cookies(secrets or (OLD,), context=context, lifetime_seconds=100, clock=clock or Clock())


def test_every_worker_with_the_secret_opens_it() -> None:
    sealed = cookies().seal(WHO)

    opened = cookies().open(sealed.value)

    assert opened == Identity(user_id="123", key="abc", expires_at=1100.0)
    assert sealed.seconds == 100
    assert sealed.expires_at == datetime.fromtimestamp(1100, UTC)


def test_nobody_reads_in_it() -> None:
    sealed = cookies().seal(Identity(user_id="somebody@example.com"))

    assert "somebody" not in sealed.value
    assert sealed.value != cookies().seal(Identity(user_id="somebody@example.com")).value


def test_it_ends_after_its_time() -> None:
    clock = Clock()
    sealer = cookies(clock=clock)
    sealed = sealer.seal(WHO)

    clock.sleep(99)
    before = sealer.open(sealed.value)
    clock.sleep(1)

    assert before is not None
    assert sealer.open(sealed.value) is None


def test_it_does_not_outlive_the_credential() -> None:
    clock = Clock()
    sealer = cookies(clock=clock)

    sealed = sealer.seal(Identity(user_id="123", expires_at=clock() + 10))
    clock.sleep(10)

    assert sealed.seconds == 10
    assert sealer.open(sealed.value) is None
    with pytest.raises(NotAuthenticated):
        sealer.seal(Identity(user_id="123", expires_at=clock()))


def test_a_secret_can_be_replaced_while_cookies_of_the_old_one_are_out() -> None:
    of_old = cookies(OLD).seal(WHO).value
    of_new = cookies(NEW, OLD).seal(WHO).value

    assert cookies(NEW, OLD).open(of_old) is not None
    assert cookies(NEW).open(of_new) is not None
    assert cookies(NEW).open(of_old) is None


def test_it_holds_only_for_what_it_was_made_for() -> None:
    assert cookies(context="api_key").open(cookies(context="jwt").seal(WHO).value) is None


def test_one_that_was_changed_is_none() -> None:
    value = cookies().seal(WHO).value

    for place in range(0, len(value), 7):
        other = "A" if value[place] != "A" else "Z"
        changed = value[:place] + other + value[place + 1 :]
        # Some bits of the last letter are padding, so a change of them changes nothing.
        is_same = urlsafe_b64decode(changed) == urlsafe_b64decode(value)
        assert (cookies().open(changed) is None) is not is_same


@pytest.mark.parametrize("value", ["", "x", "é", "\ud800", "gAAAAA", "x" * 100_000])
def test_other_text_is_no_cookie(value: str) -> None:
    assert cookies().open(value) is None
