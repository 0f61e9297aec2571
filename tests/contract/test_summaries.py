"""Which session is summarized next, who may do it, and how a turn voids the claim."""

import asyncio

import pytest

from backend.domain.conversation import Message
from backend.domain.errors import SessionNotFound
from backend.storage.ports.sessions import NewTurn
from backend.storage.ports.stores import Stores
from backend.storage.ports.summaries import IdleSession
from tests.contract.conftest import SHORT_LEASE
from tests.contract.conversations import EVERYTHING, OWNER, ending, new_turn, said, say
from tests.waiting import waiting


async def claim(
    stores: Stores, *, idle: float = 0, held: float = 60, tokens: int = EVERYTHING
) -> IdleSession | None:
    return await stores.summaries.claim(
        idle_seconds=idle, claim_seconds=held, history_tokens=tokens
    )


async def claimed(stores: Stores, *, held: float = 60, tokens: int = EVERYTHING) -> IdleSession:
    idle = await claim(stores, held=held, tokens=tokens)
    assert idle
    return idle


async def summary(stores: Stores, session_id: str = "s1") -> str | None:
    return (await stores.sessions.get(OWNER, session_id)).summary


async def test_what_was_said_is_claimed_stored_and_then_told(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Hello"), "Hi")

    idle = await claimed(stores)
    stored = await stores.summaries.store(idle, "They greeted. 👋")

    assert (idle.owner, idle.session_id, idle.summary, idle.failures) == (OWNER, "s1", None, 0)
    assert said(idle) == ["Hello", "Hi"]
    assert stored
    assert await summary(stores) == "They greeted. 👋"
    assert await claim(stores) is None


async def test_nothing_is_claimed_before_it_is_idle(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Hello"), "Hi")

    assert await claim(stores, idle=30) is None
    await asyncio.sleep(0.3)

    assert await claim(stores, idle=0.25)


async def test_a_session_in_which_nobody_ever_spoke_is_left_alone(stores: Stores) -> None:
    await stores.sessions.create(OWNER, "s1")

    assert await claim(stores) is None


async def test_of_many_who_claim_a_session_one_gets_it(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Hello"), "Hi")

    claims = await asyncio.gather(*(claim(stores) for _ in range(20)))

    assert sum(each is not None for each in claims) == 1


async def test_many_sessions_are_claimed_once_each(stores: Stores) -> None:
    for number in range(10):
        await say(stores.sessions, new_turn(session_id=f"s{number}"), "Hi")

    # A claim that finds all due sessions locked returns nothing, so there are spare ones.
    claims = await asyncio.gather(*(claim(stores) for _ in range(30)))
    claims += [await claim(stores) for _ in range(10)]

    sessions = [each.session_id for each in claims if each]
    assert sorted(sessions) == [f"s{number}" for number in range(10)]


async def test_the_one_that_waited_longest_comes_first(stores: Stores) -> None:
    for name in ("b", "a", "c"):
        await say(stores.sessions, new_turn(session_id=name), "Hi")
        await asyncio.sleep(0.01)

    order = [(await claimed(stores)).session_id for _ in range(3)]

    assert order == ["b", "a", "c"]


async def test_a_claim_that_nobody_came_back_for_frees_itself(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Hello"), "Hi")
    killed = await claimed(stores, held=2)
    meanwhile = await claim(stores)

    async with waiting():
        while (successor := await claim(stores)) is None:
            await asyncio.sleep(0.05)

    assert meanwhile is None
    assert not await stores.summaries.store(killed, "Too late")
    assert await stores.summaries.store(successor, "In time")
    assert await summary(stores) == "In time"


async def test_a_turn_that_begins_takes_the_session_back(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Hello"), "Hi")
    idle = await claimed(stores)
    turn = new_turn("And then?")
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)

    stored = await stores.summaries.store(idle, "Stale")
    meanwhile = await claim(stores)
    await stores.sessions.finish(ending(turn, Message.assistant("Then.")))

    assert not stored
    assert meanwhile is None
    assert await summary(stores) is None
    again = await claimed(stores)
    assert said(again) == [
        "Hello",
        "Hi",
        "And then?",
        "Then.",
    ]


async def test_a_whole_turn_in_the_meantime_makes_a_summary_stale_too(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Hello"), "Hi")
    idle = await claimed(stores)
    await say(stores.sessions, new_turn("And then?"), "Then.")

    assert not await stores.summaries.store(idle, "Stale")
    assert await claim(stores)


async def test_something_new_is_a_reason_for_a_new_summary_that_knows_the_old_one(
    stores: Stores,
) -> None:
    await say(stores.sessions, new_turn("Hello"), "Hi")
    await stores.summaries.store(await claimed(stores), "They greeted.")
    await say(stores.sessions, new_turn("Bye"), "See you")

    idle = await claimed(stores)

    assert idle.summary == "They greeted."
    assert await summary(stores) == "They greeted."


async def test_a_summary_is_asked_for_what_the_last_one_does_not_know(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Hello"), "Hi")
    await stores.summaries.store(await claimed(stores), "They greeted.")
    await say(stores.sessions, new_turn("Bye"), "See you")

    assert said(await claimed(stores)) == ["Bye", "See you"]


async def test_what_does_not_fit_is_told_in_parts_oldest_first(stores: Stores) -> None:
    for number in (1, 2, 3):
        await say(stores.sessions, new_turn(f"Q{number}"), f"{number}" * 50)

    parts = []
    while idle := await claim(stores, tokens=30):
        parts.append(said(idle)[::2])
        assert await stores.summaries.store(idle, f"Part {len(parts)}")

    assert parts == [["Q1", "Q2"], ["Q3"]]


async def test_a_turn_that_is_too_long_alone_is_told_all_the_same(stores: Stores) -> None:
    await say(stores.sessions, new_turn("x" * 400), "x" * 400)
    await say(stores.sessions, new_turn("Short"), "Answer")

    idle = await claimed(stores, tokens=50)

    assert said(idle) == ["x" * 400, "x" * 400]


async def nearly_full(stores: Stores, *, room: int = 90) -> NewTurn:
    """Run turns of 10 characters until a summary is wanted, and leave the last one running."""
    beside = 4 * EVERYTHING - room
    for number in range(10, 17):
        turn = new_turn(f"Q{number}")
        await stores.sessions.claim(turn, history_tokens=EVERYTHING, beside_characters=beside)
        await stores.sessions.finish(ending(turn, Message.assistant("x" * 7)))
    running = new_turn("Q17")
    await stores.sessions.claim(running, history_tokens=EVERYTHING, beside_characters=beside)
    return running


async def test_what_is_about_to_be_cut_is_told_at_once_while_a_turn_runs(stores: Stores) -> None:
    turn = await nearly_full(stores)

    idle = await claim(stores, idle=1e6)
    assert idle
    await stores.sessions.finish(ending(turn, Message.assistant("Last")))
    is_stored = await stores.summaries.store(idle, "What was said.")

    assert said(idle)[::2] == [f"Q{number}" for number in range(10, 17)]
    assert is_stored
    assert await summary(stores) == "What was said."
    assert await claim(stores, idle=1e6) is None
    assert said(await claimed(stores)) == ["Q17", "Last"]


async def test_nothing_is_wanted_while_there_is_room(stores: Stores) -> None:
    await nearly_full(stores, room=200)

    assert await claim(stores, idle=1e6) is None


async def test_of_two_who_want_what_is_about_to_be_cut_one_gets_it(stores: Stores) -> None:
    turn = await nearly_full(stores)
    first = await claimed(stores)
    await stores.sessions.finish(ending(turn, Message.assistant("Last")))
    await stores.sessions.claim(new_turn("Q18"), history_tokens=EVERYTHING)

    assert await claim(stores, idle=1e6) is None
    assert await stores.summaries.store(first, "What was said.")


async def test_a_wanted_summary_that_is_postponed_stays_wanted(stores: Stores) -> None:
    await nearly_full(stores)
    await stores.summaries.postpone(await claimed(stores), seconds=0, failures=1)

    again = await claim(stores, idle=1e6)

    assert again
    assert again.failures == 1


async def test_what_is_postponed_is_due_again_later_and_knows_its_failures(
    stores: Stores,
) -> None:
    await say(stores.sessions, new_turn("Hello"), "Hi")
    await stores.summaries.postpone(await claimed(stores), seconds=0.2, failures=3)

    assert await claim(stores) is None
    await asyncio.sleep(0.25)

    assert (await claimed(stores)).failures == 3


async def test_what_is_postponed_by_nothing_is_due_at_once(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Hello"), "Hi")
    idle = await claimed(stores)

    await stores.summaries.postpone(idle, seconds=0, failures=0)

    assert await claim(stores)
    assert not await stores.summaries.store(idle, "No longer ours")


async def test_what_is_given_up_waits_for_something_new(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Hello"), "Hi")
    # A claim that ends at once: it would hide that nothing was given up.
    await stores.summaries.postpone(await claimed(stores, held=0), seconds=None, failures=6)
    assert await claim(stores) is None

    await say(stores.sessions, new_turn("Bye"), "See you")

    assert (await claimed(stores)).failures == 0


async def test_who_no_longer_holds_a_session_cannot_postpone_it(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Hello"), "Hi")
    idle = await claimed(stores)
    await say(stores.sessions, new_turn("Bye"), "See you")

    await stores.summaries.postpone(idle, seconds=None, failures=6)

    assert await claim(stores)


async def test_a_session_is_busy_while_its_turn_runs(stores: Stores) -> None:
    await stores.sessions.claim(new_turn("Hello"), history_tokens=EVERYTHING)

    assert await claim(stores) is None


async def test_a_turn_whose_worker_is_gone_does_not_keep_its_session(
    short_leases: Stores,
) -> None:
    await short_leases.sessions.claim(new_turn("Lost"), history_tokens=EVERYTHING)
    assert await claim(short_leases) is None
    await asyncio.sleep(SHORT_LEASE * 1.25)

    idle = await claimed(short_leases)

    assert said(idle) == ["Lost"]


async def test_a_held_session_is_free_for_turns(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Hello"), "Hi")
    await claimed(stores)

    taken = await say(stores.sessions, new_turn("Bye"), "See you")

    assert said(taken) == ["Hello", "Hi"]


async def test_a_deleted_session_is_forgotten_with_its_summary(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Old"), "Old answer")
    await stores.summaries.store(await claimed(stores), "Of the old one")
    await say(stores.sessions, new_turn("Old"), "Old answer")
    idle = await claimed(stores)

    await stores.sessions.delete(OWNER, "s1")
    with pytest.raises(SessionNotFound):
        await stores.sessions.get(OWNER, "s1")
    await say(stores.sessions, new_turn("New"), "New answer")
    stored = await stores.summaries.store(idle, "Of the old one")

    assert not stored
    assert await summary(stores) is None


async def test_sessions_with_one_id_and_two_owners_are_two(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Mine", owner="me"), "Hi")
    await say(stores.sessions, new_turn("Theirs", owner="them"), "Hi")

    for _ in range(2):
        idle = await claimed(stores)
        await stores.summaries.store(idle, f"About {idle.history[0][0].content}")

    assert (await stores.sessions.get("me", "s1")).summary == "About Mine"
    assert (await stores.sessions.get("them", "s1")).summary == "About Theirs"
