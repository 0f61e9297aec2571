"""Keeps the rendered chart of each release, so that diffs show every change.

`python -m tests.deploy.golden` writes the files. The default release is kept completely. Each other
release has only the templates that differ, and the names of those that become empty. Dashboards
and rules are left out, because they have their own files.
"""

import re

from tests.deploy.chart import GOLDEN, RELEASES, Values, texts


def _steady(path: str, text: str) -> str:
    text = re.sub(r"(checksum/\w+): .*", r"\1: …", text).strip()
    if path == "NOTES.txt":
        text = "\n".join(f"# {line}".rstrip() for line in text.splitlines())
    if path == "prometheusrule.yaml":
        text = text.partition("\n  groups:")[0] + "\n  groups: …"
    return text


def _kept(values: Values) -> dict[str, str]:
    return {
        path: _steady(path, text)
        for path, text in texts(values).items()
        if path != "dashboards.yaml"
    }


def golden(name: str) -> str:
    made = _kept(RELEASES[name])
    compared = {} if name == "defaults" else _kept({})
    gone = [f"# no {path}\n" for path in compared if path not in made]
    different = [
        f"---\n# {path}\n{text}\n" for path, text in made.items() if compared.get(path) != text
    ]
    return "".join(gone + different)


def main() -> None:
    GOLDEN.mkdir(exist_ok=True)
    for old in GOLDEN.glob("*.yaml"):
        old.unlink()
    for name in RELEASES:
        (GOLDEN / f"{name}.yaml").write_text(golden(name))


if __name__ == "__main__":
    main()
