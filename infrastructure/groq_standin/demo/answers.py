"""Tool outputs in words."""

from collections.abc import Callable
from typing import Any

from infrastructure.groq_standin.demo import times
from infrastructure.groq_standin.demo.outputs import Output
from infrastructure.groq_standin.script import Call


def word(found: list[Output], query: str) -> str:
    """One paragraph for each output."""
    return "\n\n".join(_word(output, query) for output in found)


def _word(output: Output, query: str) -> str:
    value = output.value
    if isinstance(value, dict) and value.get("error"):
        return _error(value["error"])
    if isinstance(value, str):
        return value
    worded = _WORDING.get(output.call.name, _anything)
    return worded(value if isinstance(value, dict) else {"slots": value}, output.call, query)


def _error(error: Any) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    return f"I am afraid that did not work: {message or 'no reason was given'}"


def _weather(value: dict[str, Any], call: Call, _query: str) -> str:
    city = value.get("city") or _argument(call, "city")
    conditions = str(value.get("conditions", "")).lower()
    return f"In {city} it is {value.get('temperature', 'unknown')} and {conditions or 'calm'}."


def _address(value: dict[str, Any], call: Call, _query: str) -> str:
    name = value.get("name") or _argument(call, "dealership_id")
    lines = [f"**{name}** is at {value.get('address', 'an address I do not know')}."]
    if phone := value.get("phone"):
        lines.append(f"- Phone: {phone}")
    lines += _hours(value.get("hours") or value.get("opening_hours"))
    link = value.get("map_link") or value.get("map_url") or value.get("map")
    if link:
        lines.append(f"- [Map]({link})")
    return "\n".join(lines)


def _hours(hours: Any) -> list[str]:
    if isinstance(hours, dict):
        hours = ", ".join(f"{day} {_flat(times)}" for day, times in hours.items())
    return [f"- Hours: {_flat(hours)}"] if hours else []


def _slots(value: dict[str, Any], call: Call, query: str) -> str:
    free = [_slot(slot) for slot in _first_list(value)]
    day = value.get("date") or _argument(call, "date")
    place = _place(value, call)
    if not free:
        return f"There are no free slots at {place} on {day}."
    asked = times.clock(query)
    about = f"{asked} is {'free' if asked in free else 'not free'}. " if asked else ""
    lines = "\n".join(f"- {slot}" for slot in free)
    return f"{about}These slots are free at {place} on {day}:\n\n{lines}"


def _confirmation(value: dict[str, Any], call: Call, _query: str) -> str:
    def fact(*names: str) -> str:
        return str(next((value[name] for name in names if value.get(name)), None)
                   or _argument(call, names[0]))  # fmt: skip

    return (
        f"Your test drive is booked: the {fact('car_model', 'model')} on {fact('date')} at "
        f"{fact('time')}, {_place(value, call)}. "
        f"Your confirmation is **{fact('confirmation_id', 'confirmationId', 'id')}**."
    )


def _profile(value: dict[str, Any], call: Call, _query: str) -> str:
    name = value.get("name") or f"user {_argument(call, 'user_id')}"
    lines = [f"This is what I have about **{name}**:"]
    lines += [
        f"- {key.replace('_', ' ').capitalize()}: {_flat(part) or 'none'}"
        for key, part in value.items()
        if key not in ("name", "source")
    ]
    return "\n".join(lines)


def _anything(value: dict[str, Any], _call: Call, _query: str) -> str:
    return "\n".join(f"- {key}: {_flat(part)}" for key, part in value.items()) or "Done."


_WORDING: dict[str, Callable[[dict[str, Any], Call, str], str]] = {
    "get_weather": _weather,
    "get_dealership_address": _address,
    "check_appointment_availability": _slots,
    "schedule_appointment": _confirmation,
    "fetch_user_profile": _profile,
}


def _place(value: dict[str, Any], call: Call) -> str:
    place = value.get("dealership") or value.get("dealership_name")
    if isinstance(place, dict):
        place = place.get("name")
    return str(place or _argument(call, "dealership_id"))


def _argument(call: Call, name: str) -> str:
    arguments = call.arguments if isinstance(call.arguments, dict) else {}
    return str(arguments.get(name, "?"))


def _first_list(value: dict[str, Any]) -> list[Any]:
    return next((part for part in value.values() if isinstance(part, list)), [])


def _slot(slot: Any) -> str:
    return str(slot.get("time", _flat(slot))) if isinstance(slot, dict) else str(slot)


def _flat(value: Any) -> str:
    match value:
        case dict():
            return ", ".join(_flat(part) for part in value.values() if part not in (None, ""))
        case list():
            return "; ".join(_flat(part) for part in value)
        case None:
            return ""
        case _:
            return str(value)
