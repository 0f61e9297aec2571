"""All scenarios. A profile adds a shape as another file: see README.md."""

import loadtests.options  # noqa: F401 - imported for its listeners
from loadtests.scenarios.abandon import Abandon
from loadtests.scenarios.booking import Booking
from loadtests.scenarios.chat import Chat
from loadtests.scenarios.hold import Hold
from loadtests.scenarios.rate_limit import RateLimit
from loadtests.scenarios.resume import Resume
from loadtests.scenarios.slow import SlowReader
from loadtests.scenarios.storm import Storm
from loadtests.scenarios.tools import Tools
from loadtests.scenarios.websocket import WebSocket

__all__ = [
    "Abandon",
    "Booking",
    "Chat",
    "Hold",
    "RateLimit",
    "Resume",
    "SlowReader",
    "Storm",
    "Tools",
    "WebSocket",
]
