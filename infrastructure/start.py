"""Starts the service `lex` of Compose, with the key for Groq or else with the stand-in.

    python start.py FILE COMMAND…

Settings come from the environment, then from FILE, which is `backend/.env`. This runs in the image
of Lex, where no other module of this folder is.
"""

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from dotenv import dotenv_values

KEY = "GROQ_API_KEY"

STANDIN = {
    KEY: "groq-standin",
    "GROQ_BASE_URL": "http://standin:9100",
    "MODEL_NAME": "groq-standin",
    "MODEL_FALLBACKS": "none",
}

_PLACEHOLDER = re.compile(r"(?i)your|change.?me|place.?holder|example|…|\.\.\.|[<>]|^[x*]+$")


def is_key(text: str | None) -> bool:
    """Whether this may be a key. A text that asks for one is none."""
    return bool(text and text.strip()) and not _PLACEHOLDER.search(text or "")


def chosen(environment: Mapping[str, str], file: Path) -> tuple[dict[str, str], str]:
    """Return the environment of the service, and a line that says where answers come from."""
    written, trouble = _settings_in(file)
    given = {name: value for name, value in environment.items() if value}
    together = {**written, **given}
    if not is_key(together.get(KEY)):
        told = f"No {KEY} in the environment or in backend/.env{trouble}"
        known = "It knows a few phrases and is not a model."
        return {**together, **STANDIN}, f"{told}: answers come from groq-standin. {known}"
    place = "the environment" if KEY in given else "backend/.env"
    return together, f"{KEY} is from {place}: answers come from Groq."


def _settings_in(file: Path) -> tuple[dict[str, str], str]:
    """The settings in the file, and why it cannot be read."""
    try:
        with file.open(encoding="utf-8") as stream:
            found = dotenv_values(stream=stream, interpolate=True)
    except FileNotFoundError:
        return {}, ""
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is no UTF-8 text" if isinstance(error, UnicodeDecodeError) else error.strerror
        return {}, f" (user {os.getuid()} cannot read it: {reason})"
    return {name.upper(): value for name, value in found.items() if value}, ""


def main() -> None:
    file, *command = sys.argv[1:]
    environment, line = chosen(os.environ, Path(file))
    print(line, flush=True)
    # In place of this process, so that signals reach the server.
    os.execvpe(command[0], command, environment)  # noqa: S606 - the command is that of the file


if __name__ == "__main__":
    main()
