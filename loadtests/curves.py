"""The shapes as curves: which share of the users there is at which share of the run."""

import math

STEPS = 5
BASE = 0.1
WAVES = 6


def ramp(share: float) -> float:
    """In equal steps up to all of them."""
    return min(STEPS, 1 + math.floor(share * STEPS)) / STEPS


def spike(share: float) -> float:
    """A tenth, in the second third suddenly all, and a tenth again."""
    return 1.0 if 1 / 3 <= share < 2 / 3 else BASE


def soak(share: float) -> float:
    """Like days one after the other: between 60 % and all of them, up and down."""
    return 0.8 - 0.2 * math.cos(2 * math.pi * WAVES * share)
