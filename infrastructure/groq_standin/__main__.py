"""`python -m infrastructure.groq_standin --port 9100`: runs until it is told to stop."""

import argparse
import asyncio
import resource
import signal
import sys

from infrastructure.groq_standin.standin import Standin


def main() -> None:
    options = _options()
    _raise_file_limit()
    try:
        import uvloop
    except ImportError:
        asyncio.run(_serve(options))
    else:
        uvloop.run(_serve(options))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="groq_standin", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9100, help="0 picks a free one")
    parser.add_argument(
        "--demo-tokens-per-second", type=float, default=80.0, metavar="N",
        help="how fast the demo talks; scripts bring their own pace (default: %(default)s)",
    )  # fmt: skip
    return parser.parse_args()


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(options: argparse.Namespace) -> None:
    told_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told_to_stop.set)
    standin = Standin(
        options.host, options.port, demo_tokens_per_second=options.demo_tokens_per_second
    )
    try:
        await standin.start()
    except OSError as error:
        sys.exit(f"groq-standin cannot listen on {options.host}:{options.port}: {error.strerror}")
    print(f"groq-standin listening on {standin.url} (a stand-in, not a model)", flush=True)
    await told_to_stop.wait()
    await standin.stop()


if __name__ == "__main__":
    main()
