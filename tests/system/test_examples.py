"""The examples of the documents that need a library of others: `tests/documents` runs the rest."""

from pathlib import Path

from tests.documents.blocks import blocks_of
from tests.documents.test_examples import run_node
from tests.processes import ROOT
from tests.serving import lex

PACKAGES = ROOT / ".venv/npm/clients/node_modules"

BROWSER = f"""
import {{ createRequire }} from "node:module";
const {{ fetchEventSource }} = createRequire("{PACKAGES}/")("@microsoft/fetch-event-source");
globalThis.window = globalThis;
globalThis.document = {{
  hidden: false, addEventListener() {{}}, removeEventListener() {{}},
  body: {{ append: text => process.stdout.write(text) }},
}};
const query = "What is the weather in Paris?", session = "s1";
"""


async def test_fetch_event_source_reads_an_answer_as_the_documentation_shows(
    tmp_path: Path,
) -> None:
    (example,) = [
        block.text for block in blocks_of("docs/resuming.md") if "fetchEventSource" in block.text
    ]
    async with lex() as service:
        source = BROWSER + example.replace("http://localhost:8000", service.url)
        said = await run_node(source, tmp_path)

    assert said == "In Paris it is 18°C and partly cloudy."


PAGE = f"""
import {{ createRequire }} from "node:module";
const OpenAI = createRequire("{PACKAGES}/")("openai");
globalThis.window = globalThis; // with these two, and `navigator`, the client sees a browser
globalThis.document = {{ body: {{ append: text => process.stdout.write(text) }} }};
"""


async def test_openais_client_reads_an_answer_as_the_documentation_shows(tmp_path: Path) -> None:
    imported = 'import OpenAI from "openai";'
    (example,) = [block.text for block in blocks_of("docs/frontends.md") if imported in block.text]
    async with lex() as service:
        source = example.replace(imported, "").replace("http://localhost:8000", service.url)
        said = await run_node(PAGE + source, tmp_path)

    assert said == "In Paris it is 18°C and partly cloudy."
