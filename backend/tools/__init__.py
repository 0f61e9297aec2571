"""The tools that Lex has. A tool is one file, and one entry in this list."""

from backend.tools.appointment import check_appointment_availability, schedule_appointment
from backend.tools.dealership import get_dealership_address
from backend.tools.profile import fetch_user_profile
from backend.tools.weather import get_weather

TOOLS = (
    get_weather,
    get_dealership_address,
    check_appointment_availability,
    schedule_appointment,
    fetch_user_profile,
)
