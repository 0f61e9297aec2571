"""In equal steps up to all of them."""

from loadtests import curves
from loadtests.shapes import Shape


class Ramp(Shape):
    def curve(self, share: float) -> float:
        return curves.ramp(share)
