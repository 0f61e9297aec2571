"""Format the outputs of tools as strings, like the first backend."""

from collections.abc import Callable
from typing import Any

from backend.api.sse.legacy.literal import fenced
from backend.api.sse.legacy.sky import degrees, sky
from backend.domain.conversation import as_json

Format = Callable[[dict[str, Any]], str]


def as_text(output: dict[str, Any]) -> str:
    """Format the output of a tool that no page knows as JSON: no page can show an object."""
    return as_json(output)


def _weather(output: dict[str, Any]) -> str:
    temperature, conditions = degrees(output["temperature"]), sky(output["conditions"])
    return f"The weather in {output['city']} is {temperature} and {conditions}"


def _address(output: dict[str, Any]) -> str:
    """The address stands alone in its sentence, because pages look it up on a map."""
    said = [output["address"], output["name"], f"Phone: {output['phone']}"]
    return ". ".join([*said, f"Hours: {output['hours']}"])


def _slots(output: dict[str, Any]) -> str:
    if not output["slots"]:
        return f"There is no free slot on {output['date']}. Please choose another day."
    return fenced(output["slots"])


def _confirmation(output: dict[str, Any]) -> str:
    date, time, model = output["date"], output["time"], output["car_model"]
    return fenced(
        {
            "confirmacion_id": output["confirmation_id"],
            "fecha": date,
            "hora": time,
            "modelo": model,
            "mensaje": f"Your test drive of the {model} at {output['dealership']} is booked "
            f"for {date} at {time}.",
        }
    )


def _profile(output: dict[str, Any]) -> str:
    sentences = [output.get("name") or f"User {output['user_id']}"]
    if preferred := output.get("preferred_dealership"):
        sentences.append(f"Preferred dealership: {preferred['name']}")
    if coming := output["coming_test_drives"]:
        sentences.append(f"Coming test drives: {'; '.join(map(_drive, coming))}")
    if past := output["past_test_drives"]:
        sentences.append(f"Past test drives: {'; '.join(map(_drive, past))}")
    return ". ".join(sentences)


def _drive(drive: dict[str, Any]) -> str:
    where = drive.get("dealership") or drive["dealership_id"]
    return f"{drive['car_model']} at {where} on {drive['date']} at {drive['time']}"


FORMATS: dict[str, Format] = {
    "get_weather": _weather,
    "get_dealership_address": _address,
    "check_appointment_availability": _slots,
    "schedule_appointment": _confirmation,
    "fetch_user_profile": _profile,
}
