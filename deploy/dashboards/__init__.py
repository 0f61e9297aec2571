"""The dashboards of Lex, written down once; `make dashboards` makes Grafana's JSON of them."""

from deploy.dashboards.limits import LIMITS
from deploy.dashboards.overview import OVERVIEW
from deploy.dashboards.runtime import RUNTIME
from deploy.dashboards.tools import TOOLS
from deploy.dashboards.upstream import UPSTREAM

DASHBOARDS = (OVERVIEW, UPSTREAM, TOOLS, RUNTIME, LIMITS)
"""In the order in which one reads them when something is wrong."""
