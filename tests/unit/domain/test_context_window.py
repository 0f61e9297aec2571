"""Which part of the history goes to the model."""

from hypothesis import given
from hypothesis import strategies as st

from backend.domain.context_window import characters, characters_per_token, fitted
from backend.domain.conversation import Message, Role, ToolCall

CALL = ToolCall("c1", "echo", "{}")


def a_turn(size: int, *, with_tool: bool) -> list[Message]:
    tool = [Message.assistant("", [CALL]), Message.tool(CALL, "{}")] if with_tool else []
    return [Message.user("q" * size), *tool, Message.assistant("a" * size)]


histories = st.lists(st.builds(a_turn, st.integers(1, 50), with_tool=st.booleans()), max_size=8)


def test_everything_is_kept_while_it_fits() -> None:
    history = a_turn(5, with_tool=True)
    question = [Message.user("now")]

    assert fitted([history], question, budget_characters=1000) == [*history, *question]


@given(histories, st.integers(0, 300))
def test_only_whole_turns_from_the_newest_end_are_kept(
    turns: list[list[Message]], budget: int
) -> None:
    question = [Message.user("now")]

    kept = fitted(turns, question, budget_characters=budget)

    assert kept[-1:] == question
    earlier = kept[:-1]
    newest = sum(message.role is Role.USER for message in earlier)
    dropped, whole = turns[: len(turns) - newest], turns[len(turns) - newest :]
    assert earlier == [message for turn in whole for message in turn]
    assert not earlier or characters(kept) <= budget
    assert not dropped or characters(kept) + characters(dropped[-1]) > budget


def test_the_current_turn_is_kept_even_if_it_alone_is_too_long() -> None:
    question = [Message.user("x" * 100)]

    assert fitted([a_turn(5, with_tool=False)], question, budget_characters=10) == question


def test_a_reported_ratio_is_believed_within_bounds() -> None:
    assert characters_per_token(400, 100) == 4
    assert characters_per_token(400, 1) == 8
    assert characters_per_token(10, 400) == 1
    assert characters_per_token(400, 0) is None
