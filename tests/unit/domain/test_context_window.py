"""Which part of the history goes to the model."""

from hypothesis import given
from hypothesis import strategies as st

from backend.domain.context_window import KEPT, characters, characters_per_token, without_oldest
from backend.domain.conversation import Message, ToolCall

CALL = ToolCall("c1", "echo", "{}")


def a_turn(size: int, *, with_tool: bool) -> list[Message]:
    tool = [Message.assistant("", [CALL]), Message.tool(CALL, "{}")] if with_tool else []
    return [Message.user("q" * size), *tool, Message.assistant("a" * size)]


histories = st.lists(st.builds(a_turn, st.integers(1, 50), with_tool=st.booleans()), max_size=8)


def test_everything_is_kept_while_it_fits() -> None:
    history = [a_turn(5, with_tool=True)]

    assert without_oldest(history, characters(history[0])) == history


@given(histories, st.integers(-50, 300))
def test_a_cut_leaves_whole_turns_that_fill_half_the_room(
    turns: list[list[Message]], room: int
) -> None:
    kept = without_oldest(turns, room)

    assert kept == turns[len(turns) - len(kept) :]
    size = sum(map(characters, kept))
    if len(kept) < len(turns):
        dropped = turns[-len(kept) - 1]
        assert not kept or size <= (room if len(kept) == 1 else room * KEPT)
        assert size + characters(dropped) > room * KEPT


@given(histories, st.integers(1, 300), st.integers(1, 50))
def test_after_a_cut_the_history_grows_before_it_is_cut_again(
    turns: list[list[Message]], room: int, more: int
) -> None:
    kept = without_oldest(turns, room)
    grown = [*kept, a_turn(more, with_tool=False)]

    cut_again = without_oldest(grown, room) != grown
    assert not cut_again or sum(map(characters, grown)) > room


def test_a_reported_ratio_is_believed_within_bounds() -> None:
    assert characters_per_token(400, 100) == 4
    assert characters_per_token(400, 1) == 8
    assert characters_per_token(10, 400) == 1
    assert characters_per_token(400, 0) is None
