"""LiteLLM's proxy beside Lex: `make bench-peers`. It runs in a separate environment."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from infrastructure.ports import free_port
from loadtests.bench.dialects import OPENAI
from loadtests.bench.forms import SHORT
from loadtests.bench.measures import FIRST_CHUNK, STARTS, STREAMS, TURNS, warm_up
from loadtests.bench.processes import Server, serving
from loadtests.bench.ratios import rows
from loadtests.bench.servers import lex, obvious, standin
from loadtests.bench.sides import OBVIOUS, Side
from loadtests.bench.table import aligned
from loadtests.bench.windows import Watch, Windows, measured

PROGRAM = Path(".venv/peers/bin/litellm")

ALONE = {
    # Required to start without a key. Only this machine can call it, and it has no real keys.
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    # Otherwise it would load prices and tokenizers from other hosts.
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
    with serving(command, ALONE, folder / "log", port, path="/health/liveliness") as server:
        yield server


def main() -> None:
    if not PROGRAM.exists():
        sys.exit("LiteLLM is missing: make bench-peers")
    with (
        tempfile.TemporaryDirectory() as scratch,
        standin() as upstream,
        obvious(upstream.url, Path(scratch, "obvious")) as yardstick,
        lex(upstream.url, Path(scratch, "lex"), variables={}) as ours,
        litellm(upstream.url, Path(scratch, "litellm")) as theirs,
    ):
        sides = [
            Side.of(OBVIOUS, yardstick, has_tools=False),
            Side.of("sqlite", ours),
            Side.of("LiteLLM", theirs, dialect=OPENAI, has_tools=False),
        ]
        found = uvloop.run(_compared(sides, Watch(upstream)))
    print("", *aligned(rows(found)), sep="\n")
    sys.exit(any(side.failures for side in sides))


async def _compared(sides: list[Side], watch: Watch) -> Windows:
    await warm_up(sides)
    return await measured((TURNS, STREAMS, FIRST_CHUNK, STARTS), sides, form=SHORT, watch=watch)


if __name__ == "__main__":
    main()
