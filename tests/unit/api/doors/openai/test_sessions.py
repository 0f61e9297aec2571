"""The headers that name a session."""

import pytest
from starlette.datastructures import Headers

from backend.api.doors.openai.sessions import Belonging, belonging
from backend.api.doors.thread_ids import session_id_of

NAMES = ("X-OpenWebUI-Chat-Id", "X-Conversation-Id")


def found(headers: dict[str, str], key: str | None = None) -> Belonging:
    return belonging(Headers(headers), NAMES, key)


def test_our_own_header_names_a_session_and_comes_first() -> None:
    assert found({"x-session-id": "trip", "x-conversation-id": "c"}) == Belonging("trip")
    assert found({"X-Session-Id": "my trip"}) == Belonging(session_id_of("my trip"))
    # An id from an answer names the same session, also if it stands for another text.
    mapped = session_id_of("my trip")
    assert found({"X-Session-Id": mapped}) == Belonging(mapped)


def test_a_front_end_names_its_conversation() -> None:
    expected = Belonging("a-b", sends_all=True)
    assert found({"X-OpenWebUI-Chat-Id": "a-b"}) == expected
    assert found({"x-openwebui-chat-id": "", "x-conversation-id": "a-b"}) == expected
    assert found({"x-conversation-id": "local:é"}).session_id == session_id_of("local:é")


@pytest.mark.parametrize(
    "value", ["", " ", "new", "New", "null", "undefined", "{{LIBRECHAT_BODY_CONVERSATIONID}}"]
)
def test_a_conversation_without_an_id_yet_shares_no_session(value: str) -> None:
    first, second = (found({"x-conversation-id": value}) for _ in range(2))

    assert first.is_new
    assert first.session_id != second.session_id


def test_a_key_without_a_session_finds_its_session_again() -> None:
    first, second, other = found({}, "k"), found({}, "k"), found({}, "other")

    assert first == second
    assert first.session_id not in (other.session_id, "k")
