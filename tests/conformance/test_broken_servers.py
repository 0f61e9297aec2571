"""The suite finds each defect, by the MUST that the defect breaks."""

import asyncio

from tests.conformance.broken import PREFIX
from tests.conformance.conftest import served
from tests.conformance.defects import DEFECTS
from tests.conformance.exchanges import Suite
from tests.conformance.player import Profile
from tests.conformance.runner import run


async def test_every_defect_is_found(suite: Suite, profile: Profile) -> None:
    async with served(profile) as url:
        playing = (
            asyncio.to_thread(
                run,
                suite,
                profile,
                f"{url}{PREFIX}{name}",
                only=[each.exchange],
                over=[each.over],
                at_a_time=1,
            )
            for name, each in DEFECTS.items()
        )
        found = dict(zip(DEFECTS, await asyncio.gather(*playing), strict=True))

    musts = {name: {must for must, _ in result.breaches} for name, (result,) in found.items()}
    missed = {name: musts[name] for name, each in DEFECTS.items() if each.must not in musts[name]}
    assert missed == {}


def test_each_must_is_broken_by_a_defect(suite: Suite) -> None:
    """Apart from those of the legacy page, which another server shows."""
    assert {each.must for each in DEFECTS.values()} == suite.musts - {"L1", "L2"}
