"""The source of the dashboards. `make dashboards` writes Grafana's JSON from it."""

from deploy.dashboards.costs import COSTS
from deploy.dashboards.limits import LIMITS
from deploy.dashboards.overview import OVERVIEW
from deploy.dashboards.runtime import RUNTIME
from deploy.dashboards.tools import TOOLS
from deploy.dashboards.upstream import UPSTREAM

DASHBOARDS = (OVERVIEW, UPSTREAM, TOOLS, RUNTIME, LIMITS, COSTS)
"""In the order in which an on-call person reads them."""
