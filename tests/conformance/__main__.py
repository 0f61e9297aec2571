"""Play the suite against a server, or its wires to a client.

python -m tests.conformance URL --profile FILE   exits with 1 if the server breaks a MUST
python -m tests.conformance --serve              plays the exchanges of suite/clients.yaml
"""

import argparse
import sys
from contextlib import suppress
from pathlib import Path

from tests.conformance.exchanges import load
from tests.conformance.player import Profile
from tests.conformance.replay import Replay
from tests.conformance.runner import report, run


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.conformance",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("url", nargs="?", help="the server's address: http://localhost:8000")
    parser.add_argument("--profile", type=Path, help="the file that says what the server can do")
    parser.add_argument("--only", action="append", default=[], metavar="ID", help="an exchange")
    parser.add_argument("--over", action="append", default=[], metavar="NAME", help="a transport")
    parser.add_argument("--serve", action="store_true", help="play wires to a client")
    parser.add_argument("--port", type=int, default=9200, help="where to serve (%(default)s)")
    given = parser.parse_args()
    if given.serve:
        return _serve(given.port)
    if given.url is None or given.profile is None:
        parser.error("give the URL of a server and a --profile, or --serve")
    suite, profile = load(), Profile.read(given.profile)
    results = run(suite, profile, given.url, only=given.only, over=given.over)
    sys.stdout.write(f"{report(suite, results)}\n")
    return int(any(result.breaches for result in results))


def _serve(port: int) -> int:
    with Replay(port) as server:
        sys.stdout.write(f"{server.url} lists the exchanges\n")
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            server.serve_forever()
    return 0


if __name__ == "__main__":
    sys.exit(main())
