"""Writes the chart's README from its values: `make chart`.

A `# --` comment describes the value below it, and `## ` starts a section.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

CHART = Path(__file__).parent / "lex"
README = CHART / "README.md"

BEGINNING = """\
# The chart

[deploy/README.md](../../README.md#in-a-cluster) explains how to install and upgrade the chart.
`values-prod.yaml` is an example for production. Helm rejects invalid values (`values.schema.json`)
and combinations that would fail later (`templates/_refusals.tpl`). `make chart` writes this page
from `values.yaml`.
"""

_COMMENT = re.compile(r"^ *# -- (.+)$")
_SECTION = re.compile(r"^## (.+)$")
_KEY = re.compile(r"^( *)(\w+):")


def described(text: str) -> Iterator[tuple[str, str, str]]:
    """Section, path and description of each described value."""
    section, path, waiting = "", list[str](), ""
    for line in text.splitlines():
        if found := _SECTION.match(line):
            section = found[1]
        elif found := _COMMENT.match(line):
            waiting = found[1]
        elif found := _KEY.match(line):
            path = [*path[: len(found[1]) // 2], found[2]]
            if waiting:
                yield section, ".".join(path), waiting
            waiting = ""


def page(text: str) -> str:
    values = yaml.safe_load(text)
    lines, current = [BEGINNING], ""
    for section, path, description in described(text):
        if section != current:
            lines.append(f"\n## {section}\n\n| value | default | meaning |\n|---|---|---|\n")
            current = section
        lines.append(f"| `{path}` | {_cell(values, path)} | {description} |\n")
    return "".join(lines)


def _cell(values: object, path: str) -> str:
    for key in path.split("."):
        assert isinstance(values, dict)  # noqa: S101 - for the type checker
        values = values[key]
    if values == "":
        return ""
    shown = values if isinstance(values, str) else json.dumps(values)
    return f"`{shown}`" if len(shown) <= 60 else "see `values.yaml`"


def main() -> int:
    parser = argparse.ArgumentParser(description="Write the chart's README from its values.")
    parser.add_argument(
        "--check",
        action="store_true",
        help="only check that it is up to date",
    )
    made = page((CHART / "values.yaml").read_text())
    if not parser.parse_args().check:
        README.write_text(made)
    elif not README.exists() or README.read_text() != made:
        sys.stderr.write("deploy/helm/lex/README.md is not up to date: run make chart.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
