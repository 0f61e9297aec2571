"""Like days one after the other: between 60 % and all of them, up and down."""

from loadtests import curves
from loadtests.shapes import Shape


class Soak(Shape):
    def curve(self, share: float) -> float:
        return curves.soak(share)
