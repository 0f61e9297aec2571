"""Run Lex on this machine: `make run`.

With a key in the environment or in `.env`, Lex talks to Groq. Without one, this starts the stand-in
as well, says so, and stops it at the end.
"""

import argparse
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dotenv import dotenv_values

from backend.network.listen_address import read_port, try_address
from infrastructure.start import KEY, is_key

STANDIN_NAME = "groq-standin"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", default="8000", help="port to listen at")
    port = read_port(parser.parse_args().port)
    try_address("127.0.0.1", port)
    if _has_key():
        return _serve(port, os.environ.copy())
    with _standin() as url:
        print(without_key(url), flush=True)
        environment = {
            **os.environ,
            "GROQ_API_KEY": STANDIN_NAME,
            "GROQ_BASE_URL": url,
            "MODEL_NAME": STANDIN_NAME,
            "MODEL_FALLBACKS": "none",
        }
        return _serve(port, environment)


def without_key(standin_url: str) -> str:
    return (
        f"No GROQ_API_KEY: answers come from {STANDIN_NAME} at {standin_url}. "
        "It knows a few phrases and is not a model."
    )


def starting(port: int) -> str:
    return f"Starting Lex on http://localhost:{port}; Ctrl-C stops it."


def _has_key() -> bool:
    files = [dotenv_values(name) for name in ("backend/.env", ".env")]
    return any(map(is_key, (os.environ.get(KEY), *(file.get(KEY) for file in files))))


def _serve(port: int, environment: dict[str, str]) -> int:
    command = [sys.executable, "-m", "backend.server", "--port", str(port)]
    print(starting(port), flush=True)
    with subprocess.Popen(command, env=environment) as server:
        _pass_on_signals(server)
        code = server.wait()
    # A signal that arrives before the server handles signals kills it, which is a normal end.
    return 0 if code in (-signal.SIGINT, -signal.SIGTERM) else code


def _pass_on_signals(server: subprocess.Popen[bytes]) -> None:
    """Pass SIGTERM on. A terminal sends Ctrl-C to the server itself, so that is ignored here."""
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: server.terminate())


@contextmanager
def _standin() -> Iterator[str]:
    """Start a stand-in on a free port and yield its URL.

    It has its own session, so that Ctrl-C does not stop it before Lex has drained.
    """
    command = [sys.executable, "-m", "infrastructure.groq_standin", "--port", "0"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as standin:
        try:
            yield _url_in(standin.stdout.readline() if standin.stdout else "")
        finally:
            standin.terminate()


def _url_in(greeting: str) -> str:
    for word in greeting.split():
        if word.startswith("http://"):
            return word
    raise SystemExit("lex: the stand-in for Groq did not start; its error is above.")


if __name__ == "__main__":
    sys.exit(main())
