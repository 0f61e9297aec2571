"""What a tool has at hand while it runs: the showroom, the stores, the caller, the clock."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from backend.domain.conversation import Caller
from backend.domain.errors import InvalidArguments, ToolRefused
from backend.domain.showroom import CarModel, Dealership, Showroom
from backend.storage.ports.appointments import AppointmentStore
from backend.storage.ports.profiles import ProfileStore
from backend.storage.ports.side_effects import SideEffect


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """The weather now; `source` says who observed it."""

    city: str
    temperature_celsius: float
    conditions: str
    source: str


class WeatherProvider(Protocol):
    async def current(self, city: str) -> Conditions:
        """Raises: ToolRefused, when there is no such city or nobody answers."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """`now` is aware and in UTC: the moment at which the turn began. `call` is there for tools that
    change the world: the store does so only while the turn of that call holds its session.
    """

    caller: Caller
    showroom: Showroom
    appointments: AppointmentStore
    profiles: ProfileStore
    weather: WeatherProvider
    now: datetime
    call: SideEffect | None = None

    def acting_user(self, user_id: str | None) -> str:
        """Whom to act for: the authenticated caller, whatever the model says.

        Raises:
            InvalidArguments: nobody is signed in, and the model named nobody.
        """
        if self.caller.user_id is not None:
            return self.caller.user_id
        if user_id is None:
            raise InvalidArguments("`user_id` is missing. Ask the customer for it.")
        return user_id

    def dealership(self, dealership_id: str) -> Dealership:
        """Raises: ToolRefused, with the ids there are."""
        found = self.showroom.dealership(dealership_id)
        if found is None:
            known = [dealership.id for dealership in self.showroom.dealerships]
            raise ToolRefused(
                f"There is no dealership {dealership_id!r}. The ids are: {', '.join(known)}.",
                code="unknown_dealership",
                dealership_ids=known,
            )
        return found

    def car_model(self, name: str) -> CarModel:
        """Raises: ToolRefused, with the names there are."""
        found = self.showroom.car_model(name)
        if found is None:
            known = [car.name for car in self.showroom.car_models]
            raise ToolRefused(
                f"There is no car model {name!r}. The models are: {', '.join(known)}.",
                code="unknown_car_model",
                car_models=known,
            )
        return found
