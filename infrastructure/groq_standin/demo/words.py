"""What the demo knows by name, and what it says word for word."""

import re

DEALERSHIPS = {
    "manhattan": ("manhattan", "new york", "nyc"),
    "beverly-hills": ("beverly hills", "beverly-hills", "los angeles", "la"),
    "chicago": ("chicago",),
    "london": ("london",),
    "munich": ("munich", "münchen", "germany"),
    "tokyo": ("tokyo",),
    "sydney": ("sydney",),
}

CARS = ("Apex GT", "Veloce Spider", "Terra X", "Volt E", "Corsa R")

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

# In the order in which their calls are made.
INTENTS = {
    "get_weather": r"weather|temperature|forecast|\brain|\bsunny\b|how (?:hot|cold|warm)",
    "check_appointment_availability":
        r"\bslots?\b|availab|\bfree\b|\bopenings?\b|\bwhen can i\b|\bwhich times\b|\bwhat times\b",
    "schedule_appointment": r"\bbook\b|\breserve\b|\bschedule\b|\barrange\b|test drive",
    "get_dealership_address":
        r"\baddress\b|\bwhere\b|\blocat|\bphone\b|\bopening hours\b|\bhours\b|\bdirections\b",
    "fetch_user_profile": r"\bprofile\b|\bmy (?:account|appointments|bookings|test drives)\b"
        r"|\bwho am i\b|\bwho is user\b|\bknow about (?:me|user|customer)\b",
}  # fmt: skip

IDENTITY = re.compile(
    r"\b(?:who|what) are you\b|\bare you (?:an?\b|real|human|the stand|chatgpt|llama|groq)"
    r"|\bwh(?:at|ich) (?:model|ai|llm)\b|\byour name\b|\bstand-?in\b",
    re.IGNORECASE,
)
GREETING = re.compile(r"^\W*(?:hello|hi|hey|good (?:morning|afternoon|evening))\b", re.IGNORECASE)
THANKS = re.compile(r"^\W*(?:thanks|thank you|thx|great|perfect|bye|goodbye)\b", re.IGNORECASE)

WHAT_I_AM = (
    "I am groq-standin, a small stand-in for a language model: no model at all, only a table of "
    "phrases that I recognise."
)
WHAT_I_CAN_DO = (
    "Ask me about the weather in a city, the address of a dealership, free slots for a test "
    "drive, a booking (*Book the Apex GT in Manhattan tomorrow at 10 for user 123*) or the "
    "profile of a user."
)
HELLO = f"Hello, and welcome to SuperCar! {WHAT_I_AM} {WHAT_I_CAN_DO}"
YOU_ARE_WELCOME = "You are welcome! See you at the dealership."
NOT_UNDERSTOOD = f"Sorry, that is beyond me. {WHAT_I_AM} {WHAT_I_CAN_DO}"
