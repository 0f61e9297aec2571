"""Session ids for the conversations of foreign front ends, whose ids may be any text."""

import hashlib

from backend.api.schemas import is_session_id

MAPPED = "sha256:"
"""Begins each session id that stands for a foreign id."""


def session_id_of(thread_id: str) -> str:
    """Map a foreign id to a session id: always the same one, and never that of another id.

    An id that can name a session stays as it is. All others are hashed, and so are those that look
    like a hashed one.
    """
    if is_session_id(thread_id) and not thread_id.startswith(MAPPED):
        return thread_id
    # A JSON string may have unpaired surrogates, which UTF-8 has no form for.
    return MAPPED + hashlib.sha256(thread_id.encode(errors="surrogatepass")).hexdigest()
