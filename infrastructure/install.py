"""Installs locked requirements into the environment that runs this, and says how far it is.

    .venv/bin/python -m infrastructure.install requirements/runtime.txt

pip alone is silent for minutes on a slow line, or says hundreds of lines. Nothing but the standard
library is there yet.
"""

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

PIP = ("-m", "pip", "install", "--require-hashes", "--progress-bar", "off")
QUIET = ("--disable-pip-version-check", "--no-input")

EVERY_SECONDS = 2.0
"""Between two lines that say how far it is."""

LAST_LINES = 8
"""Of pip, shown when it fails."""

_ONE_MORE = ("Collecting ", "Processing ", "Requirement already satisfied: ", "Ignoring ")
"""So begins what pip says of each: from an index, a file, there already, for another Python."""

_NETWORK = re.compile(
    r"Retrying \(|NewConnectionError|ConnectTimeout|ReadTimeout|Max retries exceeded|ProxyError"
    r"|name resolution|Name or service not known|Network is unreachable|No route to host"
    r"|Could not fetch URL|Connection (?:refused|reset|aborted|broken)|IncompleteRead|SSLError"
)


def main() -> int:
    parser = argparse.ArgumentParser(description="Install locked requirements.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--every-seconds", type=float, default=EVERY_SECONDS)
    given = parser.parse_args()
    wanted = packages_in(given.file.read_text())
    print(
        f"Installing {wanted} packages of {given.file} into {sys.prefix}. "
        "The first time, this takes a minute or more.",
        flush=True,
    )
    command = [sys.executable, *PIP, *QUIET, "-r", str(given.file)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        said = follow(pip.stdout or (), wanted, every_seconds=given.every_seconds)
    if pip.returncode == 0:
        print(f"Installed {given.file}.", flush=True)
        return 0
    sys.stderr.write("".join([*said[-LAST_LINES:], f"{failure(said, given.file)}\n"]))
    return 1


def packages_in(requirements: str) -> int:
    return len(re.findall(r"^[\w.-]+(?:\[[\w,.-]+\])?==", requirements, re.MULTILINE))


def follow(lines: Iterable[str], wanted: int, *, every_seconds: float) -> list[str]:
    """Say how far it is, as pip goes on. Returns what pip has said."""
    said: list[str] = []
    found, told, told_at = 0, "", time.monotonic()
    for line in lines:
        said.append(line)
        found += line.startswith(_ONE_MORE)
        is_news = line.startswith(("Installing collected packages", "WARNING: Retrying"))
        news = progress(line, found, wanted)
        if news != told and (is_news or time.monotonic() - told_at >= every_seconds):
            told, told_at = news, time.monotonic()
            print(f"  {news}", flush=True)
    return said


def progress(line: str, found: int, wanted: int) -> str:
    if line.startswith("Installing collected packages"):
        return "All are there; unpacking them."
    if line.startswith("WARNING: Retrying"):
        return "The package index does not answer; trying again."
    if line.startswith("Successfully installed"):
        return "All are installed."
    name = re.match(r"(?:Collecting|Requirement already satisfied:) ([\w.-]+)", line)
    return f"{found} of {wanted}{f': {name[1]}' if name else ''}"


def failure(said: list[str], file: Path) -> str:
    """The last line of all."""
    if any(_NETWORK.search(line) for line in said):
        return (
            f"lex: the packages of {file} cannot be downloaded: the package index cannot be "
            "reached. Connect this machine to the network, or set HTTPS_PROXY or PIP_INDEX_URL; "
            "then run the same command again."
        )
    return f"lex: pip cannot install {file}; its own words are above."


if __name__ == "__main__":
    sys.exit(main())
