"""The time of the store's clock, and doubts about it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class ClockDoubt:
    """A clock seems to have jumped by `jump_seconds`. Do not trust it for `lasts_seconds`."""

    jump_seconds: float
    lasts_seconds: float


@dataclass(frozen=True, slots=True)
class ClockMark:
    """A time by a trusted clock, with the seconds since the start of the machine.

    After a restart of the service, but not of the machine, they tell for how long it was away.
    """

    at: datetime
    uptime_seconds: float


@dataclass(frozen=True, slots=True)
class StoreTime:
    """The time of the store's clock.

    With `is_own_clock`, that is the clock of the asking worker's machine, which may jump. Then
    `newest` is the newest stored time of any turn and of the other workers' leases (None if there
    is none), `doubt` is the doubt about this clock that is still in force, and `mark` is the last
    `mark_clock`.
    """

    now: datetime
    newest: datetime | None = None
    is_own_clock: bool = False
    doubt: ClockDoubt | None = None
    mark: ClockMark | None = None
