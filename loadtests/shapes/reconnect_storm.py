"""All users; every stream of the scenario `Storm` is cut twice, all at once."""

from loadtests.scenarios.storm import CUT
from loadtests.shapes import Shape


class ReconnectStorm(Shape):
    cuts = (0.4, 0.7)
    """The shares of the run at which the streams are cut."""

    made = 0

    def curve(self, share: float) -> float:
        if len([cut for cut in self.cuts if cut <= share]) > self.made:
            self.made += 1
            self.running.send_message(CUT)
        return 1.0
