"""LiteLLM's proxy beside Lex: `make bench-peers`. It has an environment of its own."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from loadtests.bench import measures
from loadtests.bench.client import LEX, OPENAI, Client
from loadtests.bench.measures import Busy, Side, windows
from loadtests.bench.processes import Server, free_port, lex, serving, standin
from loadtests.bench.results import TITLES, spread

PROGRAM = Path(".venv/peers/bin/litellm")

ALONE = {
    # It would not start otherwise. Only this machine can ask it, and it knows no key of anybody.
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    # Prices and tokenizers would come from other hosts.
    "LITELLM_LOCAL_MODEL_COST_MAP": "true",
    "HF_HUB_OFFLINE": "1",
}


@contextmanager
def litellm(upstream: str, folder: Path) -> Iterator[Server]:
    port = free_port()
    folder.mkdir()
    configuration = folder / "config.yaml"
    configuration.write_text(
        f"""model_list:
- model_name: llama-3.3-70b-versatile
  litellm_params:
    model: openai/llama-3.3-70b-versatile
    api_base: {upstream}/openai/v1
    api_key: none
"""
    )
    command = (str(PROGRAM), "--config", str(configuration), "--port", str(port))
    with serving(command, ALONE, folder, port, path="/health/liveliness") as server:
        yield server


async def measure(sides: list[Side], upstream: Server, *, times: int) -> None:
    busy = Busy()
    for side in sides:
        await measures.turn_ms(side)
    for measured in (measures.stream_us, measures.first_chunk_busy_ms):
        found = await windows(measured, sides, standin=upstream, busy=busy, times=times)
        for name, values in found.items():
            print(f"{TITLES[measured.__name__]}: {name} {spread(values)}")
    for side in sides:
        print(f"{side.name}: {len(side.failures)} streams failed", *side.failures[:2])


def main() -> None:
    if not PROGRAM.exists():
        sys.exit("LiteLLM is missing: make bench-peers")
    with (
        tempfile.TemporaryDirectory() as scratch,
        standin() as upstream,
        lex(upstream.url, Path(scratch, "lex"), variables={}) as ours,
        litellm(upstream.url, Path(scratch, "litellm")) as theirs,
    ):
        sides = [
            Side("lex", ours, Client(ours.url, LEX)),
            Side("litellm", theirs, Client(theirs.url, OPENAI)),
        ]
        uvloop.run(measure(sides, upstream, times=3))


if __name__ == "__main__":
    main()
