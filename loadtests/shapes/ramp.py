"""Equal steps up to all users."""

from loadtests import curves
from loadtests.shapes import Shape


class Ramp(Shape):
    def curve(self, share: float) -> float:
        return curves.ramp(share)
