"""Users who exceed the limit of a session. Exactly the allowed number of queries must pass.

The service needs `RATE_LIMIT_SESSION=<n>/minute`, which `--session-limit` repeats, and no lower
limit for a client.
"""

import time

from locust import task

from loadtests.asked import Asked
from loadtests.asking import HttpScenario, Refused, new_session
from loadtests.sse import StreamFailed, whole

TOO_MANY = 5
WINDOW_SECONDS = 60.0


class RateLimit(HttpScenario):
    scenario = "rate limit"
    asked = Asked("Hello.", ({"text": "Hello."},))

    @task
    def ask_too_often(self) -> None:
        """Ask a few times more than allowed in a new session, one query after the other."""
        self.session_id = new_session()
        limit, began = self.options.session_limit, time.monotonic()
        with self.telling("count"):
            passed = sum(self.passes() for _ in range(limit + TOO_MANY))
            if time.monotonic() - began > WINDOW_SECONDS:
                raise StreamFailed("the queries took longer than the window")
            if passed != limit:
                raise StreamFailed(f"{passed} queries passed, and {limit} are allowed")

    def passes(self) -> bool:
        try:
            reply = self.ask(self.query(self.asked))
        except Refused as refused:
            check(refused)
            return False
        for _ in whole(reply.frames):
            pass
        return True


def check(refused: Refused) -> None:
    """Raises StreamFailed if the refusal is not a 429 with a useful Retry-After."""
    if (refused.status, refused.code) != (429, "too_many_requests"):
        raise refused
    after = refused.retry_after
    if after is None or not after.isdigit() or not 1 <= int(after) <= WINDOW_SECONDS:
        raise StreamFailed("a refusal without a useful Retry-After")
