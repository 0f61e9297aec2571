"""Admission of queries by client and slots; a refused query counts against no limit."""

import re

import pytest
from starlette.requests import HTTPConnection

from backend.api.budgets.budgets import Budgets
from backend.api.rate_limits.admission import Admissions, QueryAdmission
from backend.api.rate_limits.client_slots import ClientSlots
from backend.api.rate_limits.clients import client_of
from backend.api.rate_limits.local import LocalLimits
from backend.api.rate_limits.stream_slots import LocalSlots
from backend.api.rate_limits.windows import quotas
from backend.domain.conversation import ANONYMOUS, Caller
from backend.domain.errors import TooManyRequests
from backend.domain.usage import ModelCall, Usage
from backend.storage.memory.budgets import MemoryBudgets
from tests.fakes import Clock

KNOWN = Caller(owner="user 123", user_id="123")


def coming_from(host: str) -> HTTPConnection:
    return HTTPConnection({"type": "http", "client": (host, 1234)})


def key(host: str, caller: Caller = ANONYMOUS) -> str:
    return client_of(caller, coming_from(host)).key


class Door:
    """Admissions in one worker that allow two queries a minute and two streams."""

    def __init__(self, *, per_session: str = "2/minute", most_streams: int = 2) -> None:
        self.clock = Clock()
        self.slots = LocalSlots(most=most_streams)
        self._admissions = Admissions(
            limits=LocalLimits(self.clock),
            slots=ClientSlots("streams", self.slots, LocalSlots(most=10 * most_streams)),
            session_quotas=quotas("session", per_session),
            client_quotas=quotas("client", "3/minute"),
            budgets=Budgets(
                MemoryBudgets(),
                (),
                expires_seconds=60,
                cost_of=lambda _: 0,
                typical=ModelCall(model="m", purpose="turn", usage=Usage()),
            ),
        )

    def of(
        self, session_id: str = "s1", caller: Caller = ANONYMOUS, *, host: str = "192.0.2.1"
    ) -> QueryAdmission:
        return self._admissions.of(caller, coming_from(host), session_id)

    async def refusal(self, admission: QueryAdmission) -> TooManyRequests:
        with pytest.raises(TooManyRequests) as refused:
            await admission.enter("one too many")
        return refused.value


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
    ],
)
def test_addresses_of_one_household_are_one_client(one: str, other: str) -> None:
    assert key(one) == key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("192.0.2.1", "192.0.2.2"),
        ("2001:db8:1:2::1", "2001:db8:1:3::1"),
        ("::1", "127.0.0.1"),
        ("", "unknown"),
    ],
)
def test_other_addresses_are_other_clients(one: str, other: str) -> None:
    assert key(one) != key(other)


def test_an_authenticated_user_is_one_client_at_any_address() -> None:
    keys = {key(host, KNOWN) for host in ("192.0.2.1", "192.0.2.2")}

    assert len(keys) == 1
    assert keys != {key("user 123")}


def test_a_key_tells_nobody_who_it_is() -> None:
    assert re.fullmatch("[0-9a-f]{32}", key("192.0.2.1", KNOWN))


async def test_a_session_belongs_to_its_owner_and_so_does_its_limit() -> None:
    door = Door(per_session="1/minute")
    await door.of("s1").enter("t1")

    await door.of("s1", KNOWN).enter("t2")
    refused = await door.refusal(door.of("s1"))

    assert refused.message == TooManyRequests.message
    assert str(refused) == "This session has sent too many queries. Try again later."


async def test_a_refusal_says_when_and_how_full() -> None:
    door = Door(per_session="1/minute")
    await door.of().enter("t1")
    door.clock.sleep(19.5)

    refused = await door.refusal(door.of())

    assert refused.retry_after_seconds == 41
    assert refused.fields["RateLimit"] == '"session-minute";r=0;t=41, "client-minute";r=2;t=41'


async def test_a_client_may_have_so_many_streams_and_has_room_when_one_ends() -> None:
    door = Door()
    first = door.of("s1")
    await first.enter("t1")
    await door.of("s2").enter("t2")

    refused = await door.refusal(door.of("s3"))
    first.leave("t1")
    await door.of("s3").enter("t3")

    assert str(refused) == "You have too many streams open. Close one, or try again later."
    assert refused.retry_after_seconds == 5


async def test_a_client_with_too_many_streams_has_spent_no_request() -> None:
    door = Door(most_streams=1)
    first = door.of("s1")
    await first.enter("t1")
    for _ in range(10):
        await door.refusal(door.of("s1"))
    first.leave("t1")

    await door.of("s1").enter("t2")


async def test_a_client_that_asked_too_often_holds_no_slot() -> None:
    door = Door(per_session="1/minute")
    first = door.of("s1")
    await first.enter("t1")
    for _ in range(10):
        await door.refusal(door.of("s1"))

    assert list(door.slots.held.values()) == [{"t1"}]
    first.leave("t1")
    assert door.slots.held == {}


async def test_leaving_twice_or_without_having_entered_frees_nobody_elses_slot() -> None:
    door = Door()
    first, second = door.of("s1"), door.of("s2")
    await first.enter("t1")
    await second.enter("t2")

    for _ in range(3):
        first.leave("t1")
        first.leave("never entered")

    assert list(door.slots.held.values()) == [{"t2"}]


def households(number: int, *, network: str = "2001:db8:1") -> list[str]:
    return [f"{network}:{each:x}::1" for each in range(number)]


async def test_an_ipv6_network_has_ten_times_what_a_client_has() -> None:
    door = Door(per_session="1000/minute", most_streams=100)
    for number, host in enumerate(households(30)):
        await door.of(f"s{number}", host=host).enter(f"t{number}")

    refused = await door.refusal(door.of("s30", host=households(31)[-1]))
    await door.of("s31", host="2001:db8:2::1").enter("t31")

    assert str(refused) == "Your network has sent too many queries. Try again later."
    assert '"network-minute";q=30;w=60' in refused.fields["RateLimit-Policy"]


async def test_an_ipv6_network_has_ten_times_the_streams_of_a_client() -> None:
    door = Door(most_streams=1)
    admitted = [door.of(f"s{number}", host=host) for number, host in enumerate(households(10))]
    for number, admission in enumerate(admitted):
        await admission.enter(f"t{number}")

    refused = await door.refusal(door.of("s10", host=households(11)[-1]))
    admitted[0].leave("t0")
    await door.of("s11", host=households(12)[-1]).enter("t11")

    assert str(refused) == "You have too many streams open. Close one, or try again later."


@pytest.mark.parametrize("host", ["192.0.2.1", "::ffff:192.0.2.1", "unknown"])
async def test_only_an_ipv6_address_has_a_network(host: str) -> None:
    admission = Door().of(host=host)

    await admission.enter("t1")

    assert "network" not in admission.fields["RateLimit-Policy"]
    assert client_of(KNOWN, coming_from("2001:db8::1")).network is None
