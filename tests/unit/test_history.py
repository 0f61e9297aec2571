"""What is sent upstream of what was said before."""

from hypothesis import given
from hypothesis import strategies as st

from backend.conversation import Message, Role, ToolCall
from backend.history import characters, characters_per_token, fitted, turns_of

CALL = ToolCall("c1", "echo", "{}")


def a_turn(size: int, *, with_tool: bool) -> list[Message]:
    tool = [Message.assistant("", [CALL]), Message.tool(CALL, "{}")] if with_tool else []
    return [Message.user("q" * size), *tool, Message.assistant("a" * size)]


histories = st.lists(st.builds(a_turn, st.integers(1, 50), with_tool=st.booleans()), max_size=8)


def test_everything_is_kept_while_it_fits() -> None:
    history = a_turn(5, with_tool=True)
    question = [Message.user("now")]

    assert fitted(history, question, budget_characters=1000) == [*history, *question]


@given(histories, st.integers(0, 300))
def test_only_whole_turns_from_the_newest_end_are_kept(
    turns: list[list[Message]], budget: int
) -> None:
    question = [Message.user("now")]
    history = [message for turn in turns for message in turn]

    kept = fitted(history, question, budget_characters=budget)

    assert kept[-1:] == question
    earlier = kept[:-1]
    assert earlier == history[len(history) - len(earlier) :]
    assert not earlier or earlier[0].role is Role.USER
    assert not earlier or characters(kept) <= budget
    dropped = list(turns_of(history[: len(history) - len(earlier)]))
    assert not dropped or characters(kept) + characters(dropped[-1]) > budget


def test_the_current_turn_is_kept_even_if_it_alone_is_too_long() -> None:
    question = [Message.user("x" * 100)]

    assert fitted(a_turn(5, with_tool=False), question, budget_characters=10) == question


def test_a_reported_ratio_is_believed_within_bounds() -> None:
    assert characters_per_token(400, 100) == 4
    assert characters_per_token(400, 1) == 8
    assert characters_per_token(10, 400) == 1
    assert characters_per_token(400, 0) is None
