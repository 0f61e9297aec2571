"""A transcript in a sentence: what the customer said."""

import re

from infrastructure.groq_standin.asked import Asked

MAX_CHARS = 300
_SAID = re.compile(r"^Customer: (.+)$", re.MULTILINE)


def of(asked: Asked) -> str:
    said = " ".join(_SAID.findall(asked.query))
    shortened = said if len(said) <= MAX_CHARS else f"{said[:MAX_CHARS]}…"
    return f"The customer said: {shortened or 'nothing'} (groq-standin, which is no model)"
