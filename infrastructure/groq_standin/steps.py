"""What an answer does to its connection: bytes to write, pauses, and how it ends."""

import math
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Wait:
    """Write nothing for so many seconds after the previous pause was over."""

    seconds: float


FOREVER = Wait(math.inf)
"""Only the client's leaving ends this."""


class Ending(Enum):
    """The last step of every answer."""

    COMPLETED = "answered to the end"
    FAILED = "answered, though not with a whole completion"
    CLOSED = "what was written is sent, then FIN"
    RESET = "RST"


Step = bytes | Wait | Ending
