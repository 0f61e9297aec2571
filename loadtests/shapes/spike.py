"""A tenth; all in the second third; a tenth."""

from loadtests import curves
from loadtests.shapes import Shape


class Spike(Shape):
    def curve(self, share: float) -> float:
        return curves.spike(share)
