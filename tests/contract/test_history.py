"""The history that a claim returns for the model: the newest whole turns that fit."""

from backend.domain.conversation import Message, Outcome
from backend.storage.ports.sessions import Ending, SessionStore
from backend.storage.ports.stores import Stores
from tests.contract.conversations import EVERYTHING, a_tool_round, ending, flat, new_turn, said, say


async def test_the_history_is_what_was_said_before_oldest_first(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Q1"), "A1")
    await say(stores.sessions, new_turn("Q2"), "A2")

    claim = await say(stores.sessions, new_turn("Q3"), "A3")

    assert said(claim) == ["Q1", "A1", "Q2", "A2"]


async def test_turns_that_do_not_fit_are_left_out_whole(stores: Stores) -> None:
    await say(stores.sessions, new_turn("Q1"), "A1" * 10)  # 22 characters
    await say(stores.sessions, new_turn("Q2"), "A2" * 4)  # 10
    await say(stores.sessions, new_turn("Q3"), "A3" * 4)  # 10

    fits_all = await _history(stores.sessions, tokens=11)  # 44 characters
    fits_two = await _history(stores.sessions, tokens=10)
    fits_one = await _history(stores.sessions, tokens=4)
    fits_none = await _history(stores.sessions, tokens=2)

    assert fits_all[0] == "Q1"
    assert fits_two == ["Q2", "A2" * 4, "Q3", "A3" * 4]
    assert fits_one == ["Q3", "A3" * 4]
    assert fits_none == []


async def test_a_turn_that_fits_behind_one_that_does_not_is_left_out_too(stores: Stores) -> None:
    await say(stores.sessions, new_turn("small"), "small")
    await say(stores.sessions, new_turn("Q2"), "large" * 100)

    assert await _history(stores.sessions, tokens=10) == []


async def test_a_tool_call_is_never_parted_from_its_output(stores: Stores) -> None:
    turn = new_turn("Weather?")
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    messages = [*a_tool_round(), *a_tool_round(), Message.assistant("Sunny")]
    await stores.sessions.finish(ending(turn, *messages))
    whole = sum(message.characters for message in [Message.user("Weather?"), *messages])

    too_small = await _history(stores.sessions, tokens=(whole - 1) // 4)
    enough = await _history(stores.sessions, tokens=(whole + 3) // 4)

    assert too_small == []
    assert enough == ["Weather?", *(message.content for message in messages)]


async def test_the_budget_follows_what_the_upstream_reports(stores: Stores) -> None:
    turn = new_turn("Q1")
    await stores.sessions.claim(turn, history_tokens=EVERYTHING)
    await stores.sessions.finish(
        Ending(
            turn_id=turn.id,
            outcome=Outcome.COMPLETED,
            messages=[Message.assistant("x" * 18)],
            log=b"",
            characters_per_token=2.0,
        )
    )

    too_small = await stores.sessions.claim(probe := new_turn(), history_tokens=9)
    await stores.sessions.finish(ending(probe))
    await stores.sessions.delete(probe.owner, probe.session_id)

    assert too_small.characters_per_token == 2.0
    assert too_small.history == ()


async def test_a_ratio_is_kept_until_another_is_reported(stores: Stores) -> None:
    reporting, silent = new_turn(), new_turn()
    await stores.sessions.claim(reporting, history_tokens=0)
    await stores.sessions.finish(
        Ending(
            turn_id=reporting.id,
            outcome=Outcome.COMPLETED,
            messages=[],
            log=b"",
            characters_per_token=2.5,
        )
    )
    await stores.sessions.claim(silent, history_tokens=0)
    await stores.sessions.finish(ending(silent))

    claim = await stores.sessions.claim(new_turn(), history_tokens=0)

    assert claim.characters_per_token == 2.5


async def test_a_long_history_comes_complete(stores: Stores) -> None:
    for number in range(100):
        await say(stores.sessions, new_turn(f"Q{number}"), f"A{number}")

    history = await _history(stores.sessions, tokens=EVERYTHING)

    assert history == [text for n in range(100) for text in (f"Q{n}", f"A{n}")]


async def _history(sessions: SessionStore, *, tokens: int) -> list[str]:
    """Return the history of the next claim. That turn is empty, so it does not count later."""
    probe = new_turn("")
    claim = await sessions.claim(probe, history_tokens=tokens)
    await sessions.finish(ending(probe))
    return [m.content for m in flat(claim.history) if m != Message.user("")]
