"""What the demo knows by name, and what it says word for word."""

import re
from collections.abc import Sequence

DEALERSHIPS = {
    "manhattan": ("manhattan", "new york", "nyc"),
    "beverly-hills": ("beverly hills", "beverly-hills", "beverly", "los angeles", "la"),
    "chicago": ("chicago",),
    "london": ("london",),
    "munich": ("munich", "münchen", "germany"),
    "tokyo": ("tokyo",),
    "sydney": ("sydney",),
}

CARS = ("Apex GT", "Veloce Spider", "Terra X", "Volt E", "Corsa R")

PLACES = tuple(name.replace("-", " ").title() for name in DEALERSHIPS)

KNOWN = frozenset({*DEALERSHIPS, *CARS})

_QUESTION_WORDS = "what who how which why when where whose is are was were do does did has have"
_OTHER_WORDS = """
a an the this that these those it its one me my mine us our you your i i'd i'm we they same am be
will would could can may might should let in on at for with by of from to and or but as if so
because about near next then now not no yes ok okay please thanks thank hello hi hey sure great
perfect fine good nothing bye never mind also too just only again instead rather maybe well there
here online directly quickly asap soon via out up make made take get give tell want need like
prefer choose try book reserve schedule arrange user customer account profile id number name lex
supercar test drive drives car cars model models slot slots appointment appointments booking
bookings visit demo time times day days date week month year moment hour hours weekend morning
afternoon evening night lunch half quarter past advance general person case total all any each
every some something anything once least most dealership dealerships showroom showrooms branch
store place location address phone directions city town area new other another different first last
earliest latest later earlier nearest closest best main local quick short long nice free possible
suitable available january february march april june july august september october november
december
"""

QUESTION_WORDS = frozenset(_QUESTION_WORDS.split())
"""With one of these, a sentence does not just go on."""

NO_NAME = QUESTION_WORDS | frozenset(_OTHER_WORDS.split())
"""Words that no name begins with, and that end one."""

IDENTITY = re.compile(
    r"\b(?:who|what) are you\b|\bare you (?:an?\b|real|human|the stand|chatgpt|llama|groq)"
    r"|\bwh(?:at|ich) (?:model|ai|llm)\b|\byour name\b|\bstand-?in\b"
    r"|\b(?:what|how) (?:else )?(?:can|do) you (?:do|help)\b|^\W*(?:help|can you help)\b",
    re.IGNORECASE,
)
CANCEL = re.compile(
    r"\bcancel|\b(?:change|move|postpone|reschedule|delete)\b"
    r".*\b(?:booking|appointment|test drive)\b",
    re.IGNORECASE,
)
WHICH_DEALERSHIPS = re.compile(
    r"\b(?:which|what|list|show|where are|how many)(?:\W+\w+){0,3}\W+"
    r"(?:dealerships|showrooms|branches|locations)\b",
    re.IGNORECASE,
)
WHICH_CARS = re.compile(
    r"\b(?:which|what|list|show|how many)(?:\W+\w+){0,3}\W+(?:cars|models|vehicles)\b",
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
NOTHING_BOOKED = "Then I book nothing."
NOT_CANCELLED = (
    "Bookings cannot be cancelled or changed here. Please call the dealership: I can tell you its "
    "phone number."
)


def listed(items: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


# What is asked with these words wants no tool, whatever else is in the sentence.
AT_ONCE = {
    CANCEL: NOT_CANCELLED,
    WHICH_DEALERSHIPS: f"{WHAT_I_AM} These dealerships I know by name: {listed(PLACES)}.",
    WHICH_CARS: f"{WHAT_I_AM} These cars I know by name: {listed(CARS)}.",
}
SMALL_TALK = {
    IDENTITY: f"{WHAT_I_AM} {WHAT_I_CAN_DO}",
    GREETING: HELLO,
    THANKS: YOU_ARE_WELCOME,
}


def reply(table: dict[re.Pattern[str], str], text: str) -> str | None:
    return next((said for words, said in table.items() if words.search(text)), None)
