"""Every example of the documents runs, and its output is the one that is shown.

A `console` block is typed into a shell in front of a service that answers as after `make run`; the
commands of one document share both. `python` and `js` blocks run too, `json` and `yaml` blocks are
read. A block of any other kind, and a command that is in no list here, fails.
"""

import ast
import asyncio
import importlib.util
import inspect
import io
import json
import re
import shutil
import sys
import types
from functools import partial
from pathlib import Path

import pytest
import yaml

from backend.tools import TOOLS
from backend.tools.registry import Tool
from infrastructure.run import starting, without_key
from tests.documents.blocks import Block, Command, blocks_of, commands_of
from tests.documents.markdown import DOCUMENTS
from tests.documents.shapes import Difference, compare
from tests.documents.shell import Failed, Shell, shell
from tests.processes import ROOT
from tests.waiting import within_limit

BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]

RUNS = re.compile(
    r"(?:\w+=(?:\$\(|\S* ))*"
    r"(?:curl|jq|cat|echo|export|openssl|printf"
    r"|python -m (?:json\.tool|backend\.api\.auth\.new_key|backend\.telemetry\.identity))\b"
)
STARTS = re.compile(r"(?:\w+=\S* )*make run(?:\s|$)")

CANNOT_RUN = {
    r"make (?!run\b)": "it installs, builds or tests for minutes; the target must exist",
    r"docker ": "it needs a Docker engine",
    r"(cosign|gh) ": "it needs a registry with a release",
    r"(helm|kubectl) ": "it needs a cluster; tests/deploy/test_readme.py follows it without one",
    r"(sudo|git|journalctl|cp) ": "it changes the reader's machine",
    r"python -m pip install ": "it installs",
    r"(\w+=\S+ )*python -m (gunicorn|backend\.server|infrastructure\.groq_standin)\b": "it serves",
    r"python -m (locust|loadtests\.drill) ": "it is a load test",
    r"python -m tests\.conformance ": "tests/conformance plays the suite and its wires",
    r"(\w+=\S+ )*python -m pytest ": "it is a test itself",
    r"ulimit |set -a; ": "it is about the reader's own shell",
    r"export .*…": "it has a place for a secret of the reader's",
}
"""Commands by how they begin, and why no test runs them."""

FOLDERS = "backend|deploy|docs|infrastructure|loadtests|requirements|tests"

NOTHING_TO_RUN = {
    "": "output or a drawing",
    "text": "output or a drawing",
    "nginx": "a part of a file that a system test reads as a whole",
}

BLOCKS_THAT_CANNOT_RUN: dict[tuple[str, str], str] = {
    ("infrastructure/groq_standin/README.md", "async with Standin.serve()"): (
        "it waits for a client that leaves"
    ),
    ("docs/resuming.md", "fetchEventSource"): "a system test runs it, which has that library",
    (
        "docs/frontends.md",
        'import OpenAI from "openai"',
    ): "a system test runs it, which has that library",
    ("docs/frontends.md", "@ai-sdk/react"): "tests/system/ai_sdk runs it in a browser",
    ("docs/frontends.md", "@ag-ui/client"): "tests/system/ag_ui runs it, which has the client",
    ("docs/frontends.md", "@copilotkit/core"): "tests/system/ag_ui runs it, which has the client",
}
"""By document and a text in the block, and why no test runs it."""


def of_kind(*kinds: str) -> list[Block]:
    return [block for block in BLOCKS if block.kind in kinds and not is_excused(block)]


def is_excused(block: Block) -> bool:
    return any(
        block.document == document and text in block.text
        for document, text in BLOCKS_THAT_CANNOT_RUN
    )


def documents(*kinds: str) -> list[str]:
    return list(dict.fromkeys(block.document for block in of_kind(*kinds)))


def places(*kinds: str) -> list[object]:
    return [pytest.param(block, id=block.place) for block in of_kind(*kinds)]


CHECKED = ("console", "python", "js", "json", "yaml", "diff", "mermaid", "sql")


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    strange = [
        f"{block.place}: nobody checks blocks of the kind {block.kind!r}"
        for block in BLOCKS
        if block.kind not in (*CHECKED, *NOTHING_TO_RUN)
    ]

    assert strange == []


def test_no_command_hides_in_a_block_that_is_not_run() -> None:
    hidden = [
        f"{block.place}: a block with `$ ` before its commands is a `console` block"
        for block in BLOCKS
        if block.kind in NOTHING_TO_RUN and re.search(r"^\$ ", block.text, re.MULTILINE)
    ]

    assert hidden == []


def test_every_excuse_is_of_a_block_that_is_there() -> None:
    needless = [
        (document, text)
        for document, text in BLOCKS_THAT_CANNOT_RUN
        if not any(b.document == document and text in b.text for b in BLOCKS)
    ]

    assert needless == []


@pytest.mark.parametrize("document", documents("console"))
async def test_every_command_says_what_is_shown(
    document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shutil.which("curl"), "curl is missing: make system-deps"
    monkeypatch.chdir(tmp_path)  # where the service looks for the files that commands write
    commands = [
        command
        for block in of_kind("console")
        if block.document == document
        for command in commands_of(block)
    ]

    tools = await tools_of(document, monkeypatch)
    async with shell(tmp_path, [*TOOLS, *tools]) as reader:
        problems = [problem for command in commands if (problem := await tried(command, reader))]

    if problems:
        pytest.fail("\n\n".join(problems), pytrace=False)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, id=command.place)
        for block in of_kind("console")
        for command in commands_of(block)
        if command.output and STARTS.match(command.text)
    ],
)
def test_make_run_says_what_is_shown(command: Command) -> None:
    said = [without_key("http://127.0.0.1:40405"), starting(8000)]

    assert compare(command.output, "\n".join(said)) == {}


async def tools_of(document: str, monkeypatch: pytest.MonkeyPatch) -> list[Tool]:
    """A document that adds a tool is about a service that has it."""
    blocks = [block for block in of_kind("python") if block.document == document]
    found: list[Tool] = []
    for block in blocks:
        if block.text.startswith("# backend/tools/"):
            module = loaded(block, monkeypatch)
            await run_module(module, block, block.text)
            found += [value for value in vars(module).values() if isinstance(value, Tool)]
    return found


async def tried(command: Command, reader: Shell) -> str | None:
    """What is wrong with a command or its output."""
    try:
        if STARTS.match(command.text):
            await reader.start(command.text)
        elif RUNS.match(command.text):
            await reader.begin()
            reader.learn(compare(command.output, await reader.run(command.text)))
        else:
            check_without_running(command)
    except (Failed, Difference) as error:
        return f"{command.place}: $ {command.text}\n{error}"
    return None


def check_without_running(command: Command) -> None:
    """Its targets, modules and files exist, or the document makes them.

    Raises: Failed.
    """
    text = command.text
    if not any(re.match(pattern, text) for pattern in CANNOT_RUN):
        raise Failed("this command is neither in RUNS nor in CANNOT_RUN of test_examples.py")
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    files = set(re.findall(r"^# ([\w/]+\.py)$", DOCUMENTS[command.document], re.MULTILINE))
    missing = [
        *(f"target {name}" for name in re.findall(r"^make ([a-z-]+)", text) if name not in targets),
        *(
            f"module {name}"
            for name in re.findall(r"python -m ([\w.]+)", text)
            if not importlib.util.find_spec(name)
        ),
        *(
            f"file {path}"
            for path in re.findall(rf"(?<![\w./:-])(?:{FOLDERS})/[\w./-]+", text)
            if path not in files and not (ROOT / path).exists()
        ),
    ]
    if missing:
        raise Failed(f"there is no {', no '.join(missing)}")


@pytest.mark.parametrize("block", places("mermaid"))
def test_a_drawing_is_of_a_kind_that_github_draws(block: Block) -> None:
    """Only a browser could tell more."""
    assert re.match(r"(flowchart (LR|TB)|sequenceDiagram|stateDiagram-v2)\n", block.text)


@pytest.mark.parametrize("block", places("json"))
def test_json_can_be_read(block: Block) -> None:
    """One value, or one a line."""
    try:
        json.loads(block.text)
    except ValueError:
        for line in block.text.splitlines():
            json.loads(line)


@pytest.mark.parametrize("block", places("yaml"))
def test_yaml_can_be_read(block: Block) -> None:
    list(yaml.safe_load_all(block.text))


@pytest.mark.parametrize("block", places("diff"))
def test_what_a_diff_changes_is_there(block: Block) -> None:
    path = re.search(r"^\+\+\+ b/(.*)$", block.text, re.MULTILINE)
    assert path
    lines = (ROOT / path[1]).read_text().splitlines()

    old = re.findall(r"^[ -](?!--|…)(.*)$", block.text, re.MULTILINE)

    assert [line for line in old if line not in lines] == []


@pytest.mark.parametrize("document", documents("python"))
async def test_python_runs(document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that begins with its file, as in `# backend/tools/horn.py`, can be imported by those
    behind it. Functions that are tests are called.
    """
    async with shell(tmp_path) as reader:
        await reader.begin()
        for block in of_kind("python"):
            if block.document == document:
                output = await run_python(block, reader, monkeypatch)
                check_output(block, output)


async def run_python(block: Block, reader: Shell, monkeypatch: pytest.MonkeyPatch) -> str:
    module = loaded(block, monkeypatch)
    output = io.StringIO()
    # Not by way of `sys.stdout`: the service in this process logs to it.
    vars(module)["print"] = partial(print, file=output)
    await run_module(module, block, reader.with_addresses(block.text))
    for name, value in list(vars(module).items()):
        if name.startswith("test_"):
            await in_a_thread_or_here(value)
    return output.getvalue()


def loaded(block: Block, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The empty module of a block, under the name of its file."""
    file = re.match(r"# ([\w/]+)\.py\n", block.text)
    module = types.ModuleType(file[1].replace("/", ".") if file else "example")
    module.__file__ = block.document
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


async def run_module(module: types.ModuleType, block: Block, source: str) -> None:
    lines = "\n" * (block.line - 1)  # so that a traceback names the document's line
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    code = compile(lines + source, block.document, "exec", flags=flags)
    await in_a_thread_or_here(types.FunctionType(code, module.__dict__))


async def in_a_thread_or_here(function: types.FunctionType) -> None:
    """Run a function that blocks in a thread: the service that it waits for runs in this one."""
    if function.__code__.co_flags & inspect.CO_COROUTINE:
        await within_limit(function())
    else:
        await within_limit(asyncio.to_thread(function))


PAGE_THAT_PRINTS = """
globalThis.document = { body: { append: text => process.stdout.write(text) } };
"""


@pytest.mark.parametrize("block", places("js"))
async def test_javascript_runs(block: Block, tmp_path: Path) -> None:
    """With the chat page's files in place of their addresses."""
    async with shell(tmp_path) as reader:
        await reader.begin()
        web = (ROOT / "backend" / "web").as_uri()
        source = reader.with_addresses(block.text.replace("http://localhost:8000/web", web))
        check_output(block, await run_node(PAGE_THAT_PRINTS + source, tmp_path))


async def run_node(source: str, folder: Path) -> str:
    program = folder / "example.mjs"
    program.write_text(source)
    node = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "node"), str(program),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, complaints = await within_limit(node.communicate())
    assert node.returncode == 0, complaints.decode()
    return out.decode()


def check_output(block: Block, output: str) -> None:
    """If the next block is said to be its output."""
    following = next(
        (b for b in BLOCKS if b.document == block.document and b.line > block.line), None
    )
    if following and following.before.endswith("prints:"):
        try:
            compare(following.text, output)
        except Difference as error:
            pytest.fail(f"{following.place}: {error}")
