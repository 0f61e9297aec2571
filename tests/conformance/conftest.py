from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from backend.main import create_app
from infrastructure.groq_standin import Standin
from tests.conformance.broken import Broken
from tests.conformance.defects import DEFECTS
from tests.conformance.exchanges import Suite, load
from tests.conformance.player import Profile
from tests.serving import serve, settings

PROFILE = Path(__file__).with_name("profiles") / "standin.yaml"


@pytest.fixture(scope="session")
def suite() -> Suite:
    return load()


@pytest.fixture(scope="session")
def profile() -> Profile:
    return Profile.read(PROFILE)


@asynccontextmanager
async def served(profile: Profile, **given: Any) -> AsyncIterator[str]:
    """Lex as the profile describes it, also with each defect of `broken.py`."""
    async with Standin.serve() as standin:
        limits = {"rate_limit_session": f"{profile.questions_per_session}/day"}
        app = create_app(
            settings(groq_base_url=standin.url, heartbeat_seconds=0.1, **limits, **given)
        )
        app.add_middleware(Broken, defects=DEFECTS)
        async with serve(app) as url:
            yield url
