"""`make ceilings` prints the tables for `loadtests/RESULTS.md`."""

import asyncio

from loadtests.ceilings import postgres, redis

asyncio.run(postgres.measure())
asyncio.run(redis.measure())
