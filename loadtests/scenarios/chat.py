"""Users who have conversations of a few turns."""

from locust import task

from loadtests.asked import answered
from loadtests.asking import HttpScenario, new_session

TURNS = 5


class Chat(HttpScenario):
    scenario = "chat"
    asked = answered("What makes the Apex GT special?", tokens=60, per_second=40)
    first_chunk_seconds = asked.first_chunk_seconds
    turns = 0

    @task
    def ask_again(self) -> None:
        if self.turns % TURNS == 0:
            self.session_id = new_session()
        # A failed turn may still hold its session, so start a new one.
        self.turns = self.turns + 1 if self.read(self.asked) else 0
