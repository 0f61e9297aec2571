"""The context of a running tool: the showroom, the stores, the caller, the time."""

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
    """The current weather. `source` names the provider."""

    city: str
    temperature_celsius: float
    conditions: str
    source: str


class WeatherProvider(Protocol):
    async def current(self, city: str) -> Conditions:
        """Raises: ToolRefused, if the city is unknown; ToolFailed or ToolTimedOut, if the weather
        service does not answer.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolContext:
    """Everything that a tool may use.

    `now` is the time in UTC at which the turn began. `call` is set for tools with side effects.
    Pass it to the store, which writes only while that call's turn holds its session.
    """

    caller: Caller
    showroom: Showroom
    appointments: AppointmentStore
    profiles: ProfileStore
    weather: WeatherProvider
    now: datetime
    call: SideEffect | None = None

    def acting_user(self, user_id: str | None) -> str:
        """Return the user to act for. A signed-in caller always wins over the model's `user_id`.

        Raises:
            InvalidArguments: the caller is not signed in, and the model gave no `user_id`.
        """
        if self.caller.user_id is not None:
            return self.caller.user_id
        if user_id is None:
            raise InvalidArguments("`user_id` is missing. Ask the customer for it.")
        return user_id

    def dealership(self, dealership_id: str) -> Dealership:
        """Find a dealership. Raises: ToolRefused, with the known ids."""
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
        """Find a car model. Raises: ToolRefused, with the known names."""
        found = self.showroom.car_model(name)
        if found is None:
            known = [car.name for car in self.showroom.car_models]
            raise ToolRefused(
                f"There is no car model {name!r}. The models are: {', '.join(known)}.",
                code="unknown_car_model",
                car_models=known,
            )
        return found
