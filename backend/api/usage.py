"""`GET /usage`: the tokens and the cost of model calls, by day, model and purpose."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BeforeValidator

from backend.api.dependencies import CallerDep, StoresDep
from backend.api.openapi.problems import responses
from backend.api.usage_schemas import SpentView, UsageOfDay, UsageOfOwner, UsageReport
from backend.domain.conversation import ANONYMOUS

router = APIRouter(tags=["usage"])

USUAL_DAYS = 30
MOST_OWNERS = 1000


def _iso(day: object) -> object:
    """Refuse everything that is a date to Pydantic but not to the schema, such as seconds."""
    if not isinstance(day, str) or not re.fullmatch(r"\d{4}-\d{2}-\d{2}", day, re.ASCII):
        raise ValueError("must be a day such as 2026-11-30")
    return day


Day = Annotated[date, BeforeValidator(_iso)]


@router.get("/usage", operation_id="show_usage", responses=responses())
async def show(
    caller: CallerDep,
    stores: StoresDep,
    first: Annotated[
        Day | None, Query(alias="from", description="The first UTC day, such as 2026-11-01.")
    ] = None,
    last: Annotated[Day | None, Query(alias="to", description="The last UTC day.")] = None,
    owner: Annotated[
        str | None,
        Query(max_length=300, description="Whose usage; for operators."),
    ] = None,
) -> UsageReport:
    """Show the caller's usage, by default of the last 30 days. An operator sees that of all."""
    last = last or datetime.now(UTC).date()
    first = first or last - min(timedelta(days=USUAL_DAYS - 1), last - date.min)
    own = None if caller.owner == ANONYMOUS.owner else caller.owner
    if caller.is_operator:
        days = await stores.usage.by_day(first, last, owner=owner)
        owners = await stores.usage.by_owner(first, last, owner=owner, limit=MOST_OWNERS)
    else:
        # Another owner's usage is as unknown as another owner's sessions.
        is_own = owner in (None, caller.owner)
        days = await stores.usage.by_day(first, last, owner=own) if is_own else []
        owners = None
    return UsageReport(
        first=first,
        last=last,
        total=SpentView.sum(row.spent for row in days),
        days=[UsageOfDay.of_row(row) for row in days],
        owners=None if owners is None else [UsageOfOwner.of_row(row) for row in owners],
    )
