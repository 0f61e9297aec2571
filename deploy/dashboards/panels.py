"""Builders for the types of panels.

In expressions, `HERE` selects the Lex that is chosen at the top of the dashboard, and `PODS` its
chosen pods.
"""

import json
from collections.abc import Mapping, Sequence
from string import ascii_uppercase
from typing import TypeVar
from urllib.parse import quote

from grafana_foundation_sdk.builders import (
    common,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    timeseries,
)
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import common as styles
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

PROMETHEUS = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

_HERE = 'namespace=~"$namespace", job=~"$job"'
_PODS = f'{_HERE}, pod=~"$pod"'

SECONDS = "s"
SHARE = "percentunit"
PER_SECOND = "suffix:/s"
PER_MINUTE = "suffix:/min"
BYTES = "bytes"
COUNT = "short"

States = Mapping[int, tuple[str, str]]
"""The text and colour for each value."""

AnyPanel = timeseries.Panel | stat.Panel | heatmap.Panel | statetimeline.Panel
_P = TypeVar("_P", timeseries.Panel, stat.Panel, heatmap.Panel, statetimeline.Panel)


def query(expression: str, legend: str = "__auto") -> prometheus.Dataquery:
    here = expression.replace("PODS", _PODS).replace("HERE", _HERE)
    return prometheus.Dataquery().expr(here).legend_format(legend).datasource(PROMETHEUS).range()


def number(
    title: str,
    question: str,
    asked: prometheus.Dataquery,
    *,
    unit: str,
    width: int,
    warn: float | None = None,
    bad: float | None = None,
    links: Sequence[build.DashboardLink] = (),
) -> stat.Panel:
    """The latest value as a large number. It is green up to `warn` and red from `bad`.

    If `bad` is the smaller one, low values are red.
    """
    return (
        _panel(stat.Panel(), title, question, [asked], width=width, height=4, links=links)
        .unit(unit)
        .thresholds(_traffic_light(warn, bad))
        .graph_mode(styles.BigValueGraphMode.AREA)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value("no traffic")
    )


def lines(
    title: str,
    question: str,
    *asked: prometheus.Dataquery,
    unit: str,
    width: int = 8,
    limit: float | None = None,
    is_stacked: bool = False,
    links: Sequence[build.DashboardLink] = (),
) -> timeseries.Panel:
    """Values over time, with a dashed red line at `limit`."""
    panel = (
        _panel(timeseries.Panel(), title, question, asked, width=width, height=8, links=links)
        .unit(unit)
        .min(0)
        .line_width(1)
        .fill_opacity(40 if is_stacked else 5)
        .show_points(styles.VisibilityMode.NEVER)
        .tooltip(common.VizTooltipOptions().mode(styles.TooltipDisplayMode.MULTI))
        .legend(_legend())
    )
    if is_stacked:
        panel.stacking(common.StackingConfig().mode(styles.StackingMode.NORMAL))
    if limit is not None:
        dashed = common.GraphThresholdsStyleConfig().mode(styles.GraphThresholdsStyleMode.DASHED)
        panel.thresholds(_steps("transparent", (limit, "red"))).thresholds_style(dashed)
    return panel


def quantiles(
    title: str,
    question: str,
    recorded: str,
    *,
    unit: str = SECONDS,
    width: int = 8,
    limit: float | None = None,
    links: Sequence[build.DashboardLink] = (),
) -> timeseries.Panel:
    """Median, 95th and 99th percentile, as they are recorded."""
    asked = [
        query(f"max({recorded}:{quantile}_rate5m{{HERE}})", legend)
        for quantile, legend in (("p50", "median"), ("p95", "95th"), ("p99", "99th"))
    ]
    return lines(title, question, *asked, unit=unit, width=width, limit=limit, links=links)


def heat(
    title: str,
    question: str,
    buckets: str,
    *,
    width: int = 12,
    links: Sequence[build.DashboardLink] = (),
) -> heatmap.Panel:
    """All observations of a histogram in seconds; its exemplars are dots that open a trace."""
    asked = (
        query(f"sum by (le) (increase({buckets}{{HERE}}[$__rate_interval]))", "{{le}}")
        .format(PromQueryFormat.HEATMAP)
        .exemplar(exemplar=True)
    )
    return (
        _panel(heatmap.Panel(), title, question, [asked], width=width, height=8, links=links)
        .calculate(calculate=False)
        .y_axis(heatmap.YAxisConfig().unit(SECONDS))
        .color(heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges"))
        .show_y_histogram()
    )


def states(
    title: str,
    question: str,
    *asked: prometheus.Dataquery,
    means: States,
    width: int = 8,
) -> statetimeline.Panel:
    """States over time, as coloured bands."""
    return (
        _panel(statetimeline.Panel(), title, question, asked, width=width, height=8, links=())
        .mappings([_mapping(means)])
        .merge_values(merge_values=True)
        .show_value(styles.VisibilityMode.AUTO)
        .legend(_legend())
    )


def traces(title: str, traceql: str) -> build.DashboardLink:
    """A link to traces of the shown time range, selected by a TraceQL query."""
    tempo = {"type": "tempo", "uid": "${tempo}"}
    search = {"refId": "A", "datasource": tempo, "queryType": "traceql", "query": traceql}
    time = {"from": "${__from}", "to": "${__to}"}
    panes = {"lex": {"datasource": "${tempo}", "queries": [search], "range": time}}
    # Grafana replaces variables before it decodes the URL, so they must not be encoded.
    return _link(title, f"/explore?schemaVersion=1&panes={quote(json.dumps(panes), safe='${}')}")


def board(title: str, name: str) -> build.DashboardLink:
    """A link to another dashboard, with the same Lex and time range."""
    chosen = "${__url_time_range}&${datasource:queryparam}&${namespace:queryparam}"
    return _link(title, f"/d/lex-{name}?{chosen}&${{job:queryparam}}&${{tempo:queryparam}}")


def _link(title: str, url: str) -> build.DashboardLink:
    return build.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url)


def _panel(
    panel: _P,
    title: str,
    question: str,
    asked: Sequence[prometheus.Dataquery],
    *,
    width: int,
    height: int,
    links: Sequence[build.DashboardLink],
) -> _P:
    panel.title(title).description(question).datasource(PROMETHEUS)
    panel.links([*links]).span(width).height(height)
    for name, each in zip(ascii_uppercase, asked, strict=False):
        panel.with_target(each.ref_id(name))
    return panel


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .show_legend(show_legend=True)
        .display_mode(styles.LegendDisplayMode.LIST)
        .placement(styles.LegendPlacement.BOTTOM)
    )


def _traffic_light(warn: float | None, bad: float | None) -> build.ThresholdsConfig:
    if warn is None or bad is None:
        return _steps("blue")
    if warn < bad:
        return _steps("green", (warn, "yellow"), (bad, "red"))
    return _steps("red", (bad, "yellow"), (warn, "green"))


def _steps(base: str, *steps: tuple[float, str]) -> build.ThresholdsConfig:
    above = [models.Threshold(value=value, color=color) for value, color in steps]
    thresholds = [models.Threshold(value=None, color=base), *above]
    return build.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(thresholds)


def _mapping(means: States) -> models.ValueMap:
    return models.ValueMap(
        {
            str(value): models.ValueMappingResult(text=text, color=color, index=index)
            for index, (value, (text, color)) in enumerate(means.items())
        }
    )
