"""The dashboards as files: JSON for Grafana, and a table of all panels for reviewers."""

from collections.abc import Iterator
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel, RowPanel
from grafana_foundation_sdk.models.prometheus import Dataquery

from deploy.dashboards import DASHBOARDS

FOLDER = Path(__file__).parent

_INTRODUCTION = """\
# Panels

Every panel, the question it answers, and how. Made by `make dashboards`, as is the JSON in `json/`.
`$service` stands for `namespace=~"$namespace", job=~"$job"`, `$pods` for that and `pod=~"$pod"`.
"""


def files() -> dict[Path, str]:
    """What each file is to contain."""
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
            yield f"\n### {panel.title}\n\n| panel | question | expressions |\n|---|---|---|"
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
