"""The shapes as functions from a share of the run to a share of the users."""

import math

STEPS = 5
BASE = 0.1
WAVES = 6


def ramp(share: float) -> float:
    """Equal steps up to all users."""
    return min(STEPS, 1 + math.floor(share * STEPS)) / STEPS


def spike(share: float) -> float:
    """A tenth; all in the second third; a tenth."""
    return 1.0 if 1 / 3 <= share < 2 / 3 else BASE


def soak(share: float) -> float:
    """Between 60 % and all users, up and down like a series of days."""
    return 0.8 - 0.2 * math.cos(2 * math.pi * WAVES * share)
