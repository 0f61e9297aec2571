"""Lex keeps all MUSTs of its protocol, over every transport."""

import ast
import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from tests.conformance.conftest import served
from tests.conformance.exchanges import Suite
from tests.conformance.player import Profile
from tests.conformance.runner import report, run, shown
from tests.documents.markdown import DOCUMENTS

AT_A_TIME = 16


async def test_every_exchange_goes_as_it_should(
    suite: Suite, profile: Profile, tmp_path: Path
) -> None:
    async with served(profile, database_url=f"sqlite:///{tmp_path}/lex.db") as url:
        results = await asyncio.to_thread(run, suite, profile, url, at_a_time=AT_A_TIME)
    summary = report(suite, results).splitlines()[-1]

    legacy = replace(profile, legacy=True)
    async with served(profile, client_profile="legacy") as url:
        results += await asyncio.to_thread(run, suite, legacy, url, at_a_time=AT_A_TIME)

    assert [result for result in results if result.breaches] == [], report(suite, results)
    assert shown(suite, results) == suite.musts
    assert summary in DOCUMENTS["tests/conformance/README.md"]


def test_the_program_needs_only_three_packages() -> None:
    folder = Path(__file__).parent
    waiting, needed = ["__main__"], set[str]()
    seen: set[str] = set()
    while waiting:
        seen.add(name := waiting.pop())
        for node in ast.walk(ast.parse((folder / f"{name}.py").read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [each.name for each in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                own = module.removeprefix("tests.conformance.")
                if own != module:
                    waiting += [own] if own not in seen else []
                else:
                    needed.add(module.partition(".")[0])

    assert needed - sys.stdlib_module_names == {"httpx", "yaml", "websockets"}
