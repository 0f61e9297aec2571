"""`GET /usage`: the tokens and the cost of model calls, by day, model and purpose."""

from datetime import UTC, date, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from backend.api.dependencies import CallerDep, StoresDep
from backend.api.openapi.problems import responses
from backend.api.usage_schemas import SpentView, UsageOfDay, UsageOfOwner, UsageReport
from backend.domain.conversation import ANONYMOUS, Caller
from backend.domain.errors import InvalidField

router = APIRouter(tags=["usage"])

USUAL_DAYS = 30
MOST_DAYS = 366
MOST_OWNERS = 1000


@router.get("/usage", operation_id="show_usage", responses=responses(InvalidField))
async def show(
    caller: CallerDep,
    stores: StoresDep,
    first: Annotated[
        date | None, Query(alias="from", description="The first UTC day, such as 2026-11-01.")
    ] = None,
    last: Annotated[date | None, Query(alias="to", description="The last UTC day.")] = None,
    owner: Annotated[
        str | None,
        Query(max_length=300, description="Whose usage; only for operators."),
    ] = None,
) -> UsageReport:
    """Show the caller's usage, by default of the last 30 days. An operator sees that of all."""
    first, last = _days(first, last)
    whose = _whose(caller, owner)
    days = await stores.usage.by_day(first, last, owner=whose)
    by_owner = []
    if caller.is_operator:
        by_owner = list(await stores.usage.by_owner(first, last, owner=whose, limit=MOST_OWNERS))
    return UsageReport(
        first=first,
        last=last,
        total=SpentView.sum(row.spent for row in days),
        days=[UsageOfDay.of_row(row) for row in days],
        owners=[UsageOfOwner.of_row(row) for row in by_owner] if caller.is_operator else None,
    )


def _days(first: date | None, last: date | None) -> tuple[date, date]:
    """Complete the range. Raises: InvalidField."""
    last = last or datetime.now(UTC).date()
    try:
        first = first or last - timedelta(days=USUAL_DAYS - 1)
    except OverflowError:
        raise InvalidField("must be a later day", field="to") from None
    if first > last:
        raise InvalidField("must not be after `to`", field="from")
    if (last - first).days >= MOST_DAYS:
        raise InvalidField(f"must be within {MOST_DAYS} days before `to`", field="from")
    return first, last


def _whose(caller: Caller, owner: str | None) -> str | None:
    """Return the owner whose usage is shown; None for everybody's. Raises: InvalidField."""
    if caller.is_operator:
        return owner
    if owner is not None:
        raise InvalidField("is only allowed for operators", field="owner")
    return None if caller.owner == ANONYMOUS.owner else caller.owner
