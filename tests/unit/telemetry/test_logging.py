"""Every event is one line, and no line quotes a person."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT

FORGED = 'Hello\r\n{"event": "forged"}\n2026-11-21 [info] forged\x1b[2J\x85\u2028forged'


@pytest.fixture(params=["json", "text"])
def style(request: pytest.FixtureRequest) -> str:
    given: str = request.param
    return given


def written(style: str, program: str) -> list[str]:
    """The lines of a separate process, because logging is configured once per process."""
    finished = subprocess.run(
        [sys.executable, "-c", _whole(style, program)],
        cwd=ROOT,
        capture_output=True,
        timeout=30,
        check=True,
    )
    return finished.stderr.decode().splitlines()


def _whole(style: str, program: str) -> str:
    setup = f"""if True:
        import logging
        import structlog
        from backend.telemetry.logging import configure_logging

        configure_logging(level="INFO", style={style!r})
        ours, foreign = structlog.get_logger("backend.ours"), logging.getLogger("foreign")
        FORGED = {FORGED!r}
    """
    return f"{setup}\n{program}"


def test_line_breaks_forge_no_line(style: str) -> None:
    program = """if True:
        ours.info("said", what=FORGED, listed=[FORGED], inside={"what": FORGED})
        ours.info(FORGED)
        foreign.warning("%s", FORGED)
    """

    assert len(written(style, program)) == 3


def test_an_exception_is_told_without_its_message(style: str) -> None:
    program = """if True:
        try:
            try:
                int(FORGED)
            except ValueError as error:
                raise KeyError(FORGED) from error
        except KeyError:
            ours.exception("broke")
            foreign.exception("broke")
    """

    lines = written(style, program)

    text = "\n".join(lines)
    assert "forged" not in text
    assert text.count("builtins.ValueError") == text.count("builtins.KeyError") == 2
    assert text.count("<string>:") == 4
    if style == "json":
        assert [json.loads(line)["event"] for line in lines] == ["broke", "broke"]
    else:
        assert len([line for line in lines if not line.startswith("  ")]) == 2


def test_a_library_that_complains_all_the_time_gets_one_line(style: str) -> None:
    program = """if True:
        for _ in range(1000):
            logging.getLogger("opentelemetry.exporter").warning("Nobody is there.")
            logging.getLogger("opentelemetry.sdk").error("Queue full.")
    """

    assert len(written(style, program)) == 1


def test_a_line_below_the_level_is_not_written_until_the_level_is_changed(style: str) -> None:
    program = f"""if True:
        def say():
            ours.debug("detail")
            ours.log(logging.DEBUG, "detail")
            ours.info("news")
        say()
        configure_logging(level="DEBUG", style={style!r})
        say()
        configure_logging(level="ERROR", style={style!r})
        say()
    """

    lines = written(style, program)

    assert ["detail" if "detail" in line else "news" for line in lines] == [
        *("news", "detail", "detail", "news")
    ]
    assert all("backend.ours" in line for line in lines)


def test_a_full_disk_fails_nobody_who_logs(style: str) -> None:
    program = """if True:
        for _ in range(10_000):
            ours.info("said", what="something")
        print("alive")
    """

    with Path("/dev/full").open("wb") as full:
        finished = subprocess.run(
            [sys.executable, "-c", _whole(style, program)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=full,
            timeout=30,
            check=False,
        )

    assert finished.stdout == b"alive\n"
