"""`client.js` in Node, without a page, as another program imports it."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from backend.api.page import FOLDER
from tests.serving import lex
from tests.waiting import within_limit

PROGRAM = """
const [file, base, realtime] = process.argv.slice(2);
const { Lex, Refused } = await import(file);
const lex = new Lex({ base, realtime: realtime === "websocket" });
const events = [];
const turn = lex.ask("s1", "What is the weather in Paris?");
for await (const event of turn) events.push([event.type, event.data]);
const again = [];
for await (const event of lex.follow("s1", turn.id)) again.push([event.type, event.data]);
const happened = (await lex.history("s1")).map(each => each.type);
const nothing = await lex.history("s2");
const code = await lex.stop("0123456789abcdef").catch(error =>
    error instanceof Refused && [error.status, error.failure.code]);
await lex.forget("s1");
const models = (await lex.readiness()).models.length;
console.log(JSON.stringify({ events, again, happened, nothing, code, models }));
lex.line.close();
"""


REFUSALS = """
const [file, refusals] = process.argv.slice(2);
const { Refused } = await import(file);
const retryable = [];
for (const [status, code] of JSON.parse(refusals)) {
  const refused = await Refused.of(new Response(JSON.stringify({ code }), { status }));
  retryable.push(refused.failure.retryable);
}
console.log(JSON.stringify(retryable));
"""


async def run(folder: Path, *arguments: str, text: str = PROGRAM) -> Any:
    program = folder / "program.mjs"
    program.write_text(text)
    node = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "node"), "--no-warnings", str(program), *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, complaints = await within_limit(node.communicate())
    assert node.returncode == 0, complaints.decode()
    return json.loads(out)


async def test_it_asks_reads_again_looks_back_and_forgets(transport: str, tmp_path: Path) -> None:
    async with lex() as service:
        found = await run(tmp_path, str(FOLDER / "client.js"), service.url, transport)

    kinds = [kind for kind, _ in found["events"]]
    assert kinds[:3] == ["tool_use", "tool_call", "tool_output"]
    assert kinds[-2:] == ["outcome", "end"]
    assert found["events"][-2][1]["finish_reason"] == "stop"
    assert found["again"] == found["events"]
    assert found["happened"] == [
        "user_message", "tool_call", "tool_result", "assistant_message",
    ]  # fmt: skip
    assert found["nothing"] == []
    assert found["code"] == [404, "turn_not_found"]
    assert found["models"] == 3


async def test_only_a_refusal_that_may_pass_is_worth_a_retry(tmp_path: Path) -> None:
    refusals = {
        (409, "session_busy"): True,
        (429, "too_many_requests"): True,
        (503, "storage_unavailable"): True,
        (502, None): True,
        (500, "internal_error"): False,
        (422, "invalid_field"): False,
    }

    found = await run(tmp_path, str(FOLDER / "client.js"), json.dumps([*refusals]), text=REFUSALS)

    assert found == [*refusals.values()]
