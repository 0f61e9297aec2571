"""Between 60 % and all users, up and down like a series of days."""

from loadtests import curves
from loadtests.shapes import Shape


class Soak(Shape):
    def curve(self, share: float) -> float:
        return curves.soak(share)
