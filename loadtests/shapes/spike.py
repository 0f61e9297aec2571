"""A tenth, in the second third suddenly all, and a tenth again."""

from loadtests import curves
from loadtests.shapes import Shape


class Spike(Shape):
    def curve(self, share: float) -> float:
        return curves.spike(share)
