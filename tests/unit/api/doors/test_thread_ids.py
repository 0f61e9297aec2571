from hypothesis import example, given
from hypothesis import strategies as st

from backend.api.doors.thread_ids import session_id_of
from backend.api.schemas import is_session_id

IDS = st.text(st.characters()) | st.from_regex(r"[A-Za-z0-9._:-]{0,140}", fullmatch=True)


@given(st.lists(IDS, unique=True, max_size=8))
def test_every_thread_has_a_session_id_of_its_own(thread_ids: list[str]) -> None:
    sessions = [session_id_of(thread_id) for thread_id in thread_ids]

    assert all(map(is_session_id, sessions))
    assert len(set(sessions)) == len(thread_ids)
    assert sessions == [session_id_of(thread_id) for thread_id in thread_ids]


@given(IDS)
@example("")
@example("\ud800")
@example("a" * 129)
def test_no_thread_id_is_the_session_id_of_another(thread_id: str) -> None:
    session = session_id_of(thread_id)

    assert session == thread_id or session_id_of(session) != session
