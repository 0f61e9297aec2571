"""One worker process of a rush: a hundred of its users want the same slot at once.

The process reports that it is ready, waits for a line, and prints its results as JSON.
"""

import asyncio
import json
import sys

from backend.storage.factory import open_stores
from backend.storage.ports.appointments import Appointment, Booking, SlotTaken
from backend.storage.ports.stores import Stores
from tests.contract.test_appointments import MINE

USERS = 100


async def main(database_url: str, worker: str) -> None:
    stores = await open_stores(database_url, lease_seconds=15, migrate=True)
    _say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    results = await asyncio.gather(
        *(_attempt(stores, f"{worker}-{number}") for number in range(USERS))
    )
    confirmed = [booking.confirmation_id for booking in results if booking]
    _say(json.dumps({"confirmed": confirmed, "taken": results.count(None)}))
    await stores.close()


async def _attempt(stores: Stores, user_id: str) -> Booking | None:
    wanted = Appointment(
        user_id=user_id,
        dealership_id=MINE.dealership_id,
        date=MINE.date,
        time=MINE.time,
        car_model=MINE.car_model,
    )
    try:
        return await stores.appointments.book(wanted)
    except SlotTaken:
        return None


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
