"""The chart's own copies of rules and dashboards: `python -m deploy.chart_files`.

They are copies and not links, because a chart must be complete in an archive, on any file system,
and for tools that drop links.
"""

from pathlib import Path
from shutil import rmtree

FOLDER = Path(__file__).parent / "helm" / "lex" / "files"

SOURCES = {
    "dashboards": (Path(__file__).parent / "dashboards" / "json", "*.json"),
    "rules": (Path(__file__).parent / "prometheus" / "rules", "*.yml"),
}
"""By the name of the copied folder: its source, and the files that it has."""


def copies() -> dict[Path, str]:
    """The content of each copy, by its path."""
    return {
        FOLDER / name / source.name: source.read_text()
        for name, (folder, pattern) in SOURCES.items()
        for source in sorted(folder.glob(pattern))
    }


def main() -> None:
    for name in SOURCES:
        rmtree(FOLDER / name, ignore_errors=True)
    for path, text in copies().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
