"""The warning, or the refusal to start, of a service without authentication."""

import pytest
from structlog.testing import capture_logs

from backend.app.auth import warn_of_anonymous_access
from backend.network.exposure import REFUSAL, WARNING, Exposure
from tests.serving import settings


@pytest.mark.parametrize(
    ("exposure", "allowed", "told", "logged"),
    [
        (Exposure.LOOPBACK, False, (), []),
        (Exposure.LOOPBACK, True, (), []),
        (Exposure.SOCKET, True, (), []),
        (Exposure.PUBLIC, True, (WARNING,), [WARNING]),
        (Exposure.UNKNOWN, True, (WARNING,), [WARNING]),
        (Exposure.UNKNOWN, False, (), [f"{REFUSAL}. The server does not tell where it listens."]),
    ],
)
def test_strangers_who_may_come_are_warned_of(
    exposure: Exposure, *, allowed: bool, told: tuple[str, ...], logged: list[str]
) -> None:
    with capture_logs() as lines:
        warnings = warn_of_anonymous_access(settings(allow_anonymous=allowed), exposure)

    assert warnings == told
    assert [line["note"] for line in lines if line["event"] == "anonymous_access"] == logged


def test_strangers_whom_nobody_allowed_stop_the_start() -> None:
    with pytest.raises(SystemExit, match=REFUSAL):
        warn_of_anonymous_access(settings(), Exposure.PUBLIC)
