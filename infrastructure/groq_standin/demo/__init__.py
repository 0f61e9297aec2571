"""The demo mind: a table of intents, and just enough English to show what the service can do.

It looks only at the messages and tools of the request, and keeps nothing between two of them.
"""

from infrastructure.groq_standin.demo.mind import think

__all__ = ["think"]
