"""Installs locked requirements into the running environment, and shows the progress.

    .venv/bin/python -m infrastructure.install requirements/runtime.txt

pip itself is silent for minutes on a slow network, or prints hundreds of lines. This module uses
only the standard library, because nothing else is installed yet.
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
"""Seconds between two lines of progress."""

LAST_LINES = 8
"""Lines of pip's output that are shown when it fails."""

_ONE_MORE = ("Collecting ", "Processing ", "Requirement already satisfied: ", "Ignoring ")
"""pip prints one of these for each package: from an index, from a file, installed already, or for
another version of Python."""

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
    """Print the progress while pip runs. Returns the output of pip."""
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
        return "All packages are downloaded; installing them."
    if line.startswith("WARNING: Retrying"):
        return "The package index does not answer; trying again."
    if line.startswith("Successfully installed"):
        return "All packages are installed."
    name = re.match(r"(?:Collecting|Requirement already satisfied:) ([\w.-]+)", line)
    return f"{found} of {wanted}{f': {name[1]}' if name else ''}"


def failure(said: list[str], file: Path) -> str:
    """The last line, which explains the failure."""
    if any(_NETWORK.search(line) for line in said):
        return (
            f"lex: cannot download the packages of {file}, because the package index cannot be "
            "reached. Check the network, or set HTTPS_PROXY or PIP_INDEX_URL, and run the same "
            "command again."
        )
    return f"lex: pip cannot install {file}; its output is above."


if __name__ == "__main__":
    sys.exit(main())
