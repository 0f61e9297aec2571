"""A dashboard: rows of panels, the variables on top, and the links between dashboards."""

from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from deploy.dashboards.panels import PROMETHEUS, AnyPanel

_TAG = "lex"


@dataclass(frozen=True)
class Row:
    """A row of panels under a question. The widths add up to full lines of 24."""

    title: str
    panels: tuple[AnyPanel, ...]


def row(title: str, *panels: AnyPanel) -> Row:
    return Row(title, panels)


def dashboard(
    name: str, title: str, story: str, *rows: Row, has_pods: bool = False
) -> models.Dashboard:
    """Do not change `name`: links, files and bookmarks contain it."""
    board = (
        build.Dashboard(f"Lex: {title}")
        .uid(f"lex-{name}")
        .description(story)
        .tags([_TAG])
        .link(_other_dashboards())
        .variables(_variables(has_pods=has_pods))
        .annotations(_annotations())
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time("now-1h", "now")
        .refresh("30s")
        .readonly()
    )
    _fill(board, rows)
    return board.build()


def _annotations() -> list[Builder[models.AnnotationQuery]]:
    """Marks in all panels for changes: new versions, drains and alerts."""
    here = 'namespace=~"$namespace", job=~"$job"'
    return [
        _annotation(
            "Versions",
            f"group by (version, revision) (lex_build_info{{{here}}})"
            f" unless group by (version, revision) (lex_build_info{{{here}}} offset 2m)",
            "blue",
        ),
        _annotation("Drains", f"max by (pod, instance) (lex_draining{{{here}}}) == 1", "purple"),
        _annotation(
            "Alerts",
            f'ALERTS{{alertname=~"Lex.+", alertstate="firing", {here}}}',
            "red",
        ),
    ]


def _annotation(name: str, expression: str, color: str) -> Builder[models.AnnotationQuery]:
    return (
        build.AnnotationQuery()
        .name(name)
        .datasource(PROMETHEUS)
        .enable(enable=True)
        .icon_color(color)
        .expr(expression)
    )


def _fill(board: build.Dashboard, rows: tuple[Row, ...]) -> None:
    number = 0
    for each in rows:
        board.with_row(build.Row(each.title).id(number := number + 1))
        for panel in each.panels:
            board.with_panel(panel.id(number := number + 1))


def _other_dashboards() -> build.DashboardLink:
    return (
        build.DashboardLink("Lex")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([_TAG])
        .as_dropdown(as_dropdown=False)
        .include_vars(include_vars=True)
        .keep_time(keep_time=True)
    )


def _variables(*, has_pods: bool) -> list[Builder[models.VariableModel]]:
    service: list[Builder[models.VariableModel]] = [
        build.DatasourceVariable("datasource").label("Metrics").type("prometheus"),
        build.DatasourceVariable("tempo").label("Traces").type("tempo"),
        _label("namespace", "lex_build_info").include_all(include_all=True).all_value(".*"),
        _label("job", 'lex_build_info{namespace=~"$namespace"}'),
    ]
    if not has_pods:
        return service
    here = 'lex_build_info{namespace=~"$namespace", job=~"$job"}'
    pods = _label("pod", here).include_all(include_all=True).all_value(".*").multi(multi=True)
    return [*service, pods]


def _label(name: str, series: str) -> build.QueryVariable:
    """A variable with all values of a label. Outside Kubernetes, namespace and pod offer only
    All.
    """
    return (
        build.QueryVariable(name)
        .label(name.capitalize())
        .datasource(PROMETHEUS)
        .query(f"label_values({series}, {name})")
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )
