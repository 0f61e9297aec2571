"""A stand-in for Groq: its wire, byte for byte, and nothing of a model behind it.

It owns what an upstream may send: good streams, and every way in which they go wrong.
It never imports the service, and the service never imports it.
"""

from infrastructure.groq_standin.script import Round, Script, ScriptError
from infrastructure.groq_standin.standin import Standin

__all__ = ["Round", "Script", "ScriptError", "Standin"]
