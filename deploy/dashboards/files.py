"""The dashboards as files: JSON for Grafana, and PANELS.md for reviews."""

from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, RowPanel
from grafana_foundation_sdk.models.prometheus import Dataquery

from deploy.dashboards import DASHBOARDS

FOLDER = Path(__file__).parent

_INTRODUCTION = """\
# Panels

All panels with their descriptions and expressions. `make dashboards` writes this page and `json/`.
`$service` stands for `namespace=~"$namespace", job=~"$job"`, and `$pods` adds `pod=~"$pod"`.
"""


def files() -> dict[Path, str]:
    """The content of each file, by its path."""
    boards = {FOLDER / "json" / f"{board.uid}.json": _json(board) for board in DASHBOARDS}
    return {**boards, FOLDER / "PANELS.md": _table(DASHBOARDS)}


def _json(board: Dashboard) -> str:
    return JSONEncoder(indent=2, ensure_ascii=False, sort_keys=True).encode(board) + "\n"


def _table(boards: tuple[Dashboard, ...]) -> str:
    return "\n".join([_INTRODUCTION, *(line for board in boards for line in _lines(board))])


def _lines(board: Dashboard) -> Iterator[str]:
    yield f"## {board.title}\n\n{board.description}"
    for panel in board.panels or []:
        if isinstance(panel, RowPanel):
            yield f"\n### {panel.title}\n\n| panel | description | expressions |\n|---|---|---|"
        else:
            yield f"| {panel.title} | {panel.description} | {_expressions(panel)} |"
    yield ""


def _expressions(panel: Panel) -> str:
    queries = [target for target in panel.targets or [] if isinstance(target, Dataquery)]
    return "<br>".join(f"`{_short(query.expr)}`" for query in queries)


def _short(expression: str) -> str:
    service = 'namespace=~"$namespace", job=~"$job"'
    named = expression.replace(f'{service}, pod=~"$pod"', "$pods").replace(service, "$service")
    return named.replace("|", "\\|")
