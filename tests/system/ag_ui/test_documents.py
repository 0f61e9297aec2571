"""The examples of docs/frontends.md, as they stand there."""

from pathlib import Path

from tests.documents.blocks import blocks_of
from tests.serving import lex
from tests.system.vendors import PACKAGES, play

SHOW = """
const { lex } = await import("./lex.mjs");
await import("./copilotkit.mjs");
process.stdout.write(JSON.stringify(lex.messages));
"""


async def test_the_examples_run(tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(PACKAGES)
    examples = [block.text for block in blocks_of("docs/frontends.md") if block.kind == "js"]
    async with lex() as service:
        for name, client in {"lex": "@ag-ui/client", "copilotkit": "@copilotkit/core"}.items():
            (example,) = [each for each in examples if f'from "{client}"' in each]
            example = example.replace("http://localhost:8000", service.url)
            (tmp_path / f"{name}.mjs").write_text(example.replace("console.log", "void "))
        (tmp_path / "show.mjs").write_text(SHOW)

        messages = await play(tmp_path / "show.mjs")

        stored = (await service.client.get("/sessions/my-thread/messages")).json()["messages"]
    roles = ["user", "assistant", "tool", "assistant"]
    assert [each["role"] for each in messages] == roles * 2
    assert [each["role"] for each in stored] == roles * 2
    assert messages[-1]["content"] == stored[-1]["content"]
