"""The version of a release. `pyproject.toml` has it; `python -m deploy.release.versions` copies it.

The chart has the version of the service, so that one number names both.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deploy.release import ROOT, NotReady

SOURCE = "pyproject.toml"


@dataclass(frozen=True)
class Place:
    """Where a version is written: a file, and a pattern whose only group is the version."""

    path: str
    pattern: str

    def found(self, root: Path) -> list[str]:
        return re.findall(self.pattern, (root / self.path).read_text(), re.MULTILINE)

    def rewritten(self, root: Path, version: str) -> str:
        def replaced(match: re.Match[str]) -> str:
            start, end = (at - match.start() for at in match.span(1))
            return match[0][:start] + version + match[0][end:]

        text = (root / self.path).read_text()
        return re.sub(self.pattern, replaced, text, flags=re.MULTILINE)


_CHART = "deploy/helm/lex/Chart.yaml"
_EXAMPLES = "deploy/examples"
_OUR_IMAGE = r"^ +image: (?:lex|groq-standin|lex-load):(.*)$"

PLACES = (
    Place("backend/__init__.py", r'^__version__ = "(.*)"$'),
    Place("deploy/docker/Dockerfile", r"^ARG VERSION=(.*)$"),
    Place(_CHART, r"^version: (.*)$"),
    Place(_CHART, r"^appVersion: (.*)$"),
    Place(_CHART, r"^ +image: ghcr\.io/\w+/lex:(.*)$"),
    Place("deploy/README.md", r"\blex:(\d+\.\d+\.\d+)\b"),
    Place("deploy/move.yaml", r"^ +image: .*/lex:(.*)$"),
    Place("deploy/README.md", r"^\| `VERSION` \| `(.*?)`"),
    Place("infrastructure/compose.yaml", _OUR_IMAGE),
    Place("infrastructure/compose.load.yaml", _OUR_IMAGE),
    Place("SECURITY.md", r"\blex:(\d+\.\d+\.\d+)\b"),
    Place("SECURITY.md", r"@refs/tags/v(\d+\.\d+\.\d+)$"),
    Place(f"{_EXAMPLES}/argo-cd/application.yaml", r"^ +targetRevision: (.*)$"),
    Place(f"{_EXAMPLES}/flux/lex.yaml", r"^ +ref: {tag: (.*)}$"),
    Place(f"{_EXAMPLES}/kustomize/kustomization.yaml", r"^ +version: (.*)$"),
)


def version(root: Path = ROOT) -> str:
    """The version in `pyproject.toml`.

    Raises:
        NotReady: it is not three numbers.
    """
    found = Place(SOURCE, r'^version = "(.*)"$').found(root)
    if len(found) != 1 or not re.fullmatch(r"\d+\.\d+\.\d+", found[0]):
        raise NotReady(f"{SOURCE} must have one version of three numbers, and has {found}.")
    return found[0]


def check(root: Path = ROOT, tag: str = "") -> str:
    """Compare all places, and the tag if there is one.

    Raises:
        NotReady: a place has another version or none, or the tag is not `v` and the version.
    """
    wanted = version(root)
    wrong = list(_differences(root, wanted))
    if wrong:
        raise NotReady(f"{SOURCE} has {wanted}, but {'; '.join(wrong)}. Run `make versions`.")
    if tag and tag != f"v{wanted}":
        raise NotReady(f"the tag is {tag}, and {SOURCE} has {wanted}: the tag must be v{wanted}.")
    return f"{wanted} in {len(PLACES) + 1} places" + (f", and the tag {tag}" if tag else "")


def _differences(root: Path, wanted: str) -> Iterator[str]:
    for place in PLACES:
        found = place.found(root)
        if not found:
            yield f"{place.path} has none"
        for other in sorted(set(found) - {wanted}):
            yield f"{place.path} has {other}"


def main() -> None:
    wanted = version()
    for place in PLACES:
        (ROOT / place.path).write_text(place.rewritten(ROOT, wanted))


if __name__ == "__main__":
    main()
