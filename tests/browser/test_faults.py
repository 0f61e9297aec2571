"""Faults: no word is lost or shown twice, and the page says what went wrong."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.async_api import BrowserContext, Error, Route

from backend.network.exposure import WARNING
from infrastructure.groq_standin import Standin
from infrastructure.ports import free_port
from tests.browser.chat import Chat
from tests.credentials import WITH_SECRET, token
from tests.cutting import cutting
from tests.processes import Process, process, ready
from tests.serving import lex
from tests.waiting import waiting

WORDS = [f"word{n}" for n in range(60)]
TEXT = "\n\n".join(" ".join(WORDS[n : n + 10]) for n in range(0, 60, 10))
"""Sixty words in six paragraphs."""


def slowly(tokens_per_second: float = 30) -> dict[str, object]:
    return {"text": TEXT, "tokens_per_second": tokens_per_second}


async def whole(chat: Chat) -> str:
    """The complete answer, with blank lines between its paragraphs."""
    await chat.settled()
    blocks = await chat.last.locator(".said > p").all_text_contents()
    return "\n\n".join(blocks)


async def test_a_connection_that_breaks_again_and_again_is_taken_up_where_it_stopped(
    chat: Chat, transport: str
) -> None:
    async with lex() as service:
        service.standin.script(slowly())
        async with cutting(service.url, ()) as cutter:
            await chat.open(cutter.url, transport=transport)

            await chat.say("Count")
            for word in ("word5", "word12", "word33"):
                await chat.until_said(word)
                cutter.break_all()
            said = await whole(chat)
            connection = await chat.line.inner_text()

    posted = [request for request in chat.requests if request.method == "POST"]
    assert said == TEXT
    assert connection == ""
    assert len(posted) == (1 if transport == "sse" else 0)
    assert service.standin.stats.requests == 1


async def test_a_question_whose_answer_broke_anywhere_is_asked_once(chat: Chat) -> None:
    in_the_head, behind_it, in_a_frame = b"HTTP/1.1 2", b"\r\n\r\n", b"event: chunk\nda"
    async with lex() as service:
        service.standin.script(slowly(100))
        async with cutting(service.url, ()) as cutter:
            await chat.open(cutter.url)
            await chat.page.wait_for_load_state("networkidle")
            cutter.break_all()
            cutter.cuts = iter([in_the_head, in_the_head, behind_it, in_a_frame, b"word40"])

            await chat.say("Count")
            said = await whole(chat)

    posted = [request for request in chat.requests if request.method == "POST"]
    keys = {await request.header_value("Idempotency-Key") for request in posted}
    assert said == TEXT
    assert cutter.times == 5
    assert (len(posted), len(keys)) == (3, 1)
    assert service.standin.stats.requests == 1


async def test_a_question_over_a_websocket_that_broke_is_found_again(chat: Chat) -> None:
    async with lex() as service:
        service.standin.script({**slowly(100), "first_token_after": 1})
        async with cutting(service.url, ()) as cutter:
            await chat.open(cutter.url, transport="websocket")
            await chat.page.wait_for_load_state("networkidle")

            await chat.say("Count")
            await service.standin.stats.until(lambda stats: stats.requests == 1)
            cutter.break_all()
            said = await whole(chat)

    assert said == TEXT
    assert service.standin.stats.requests == 1


async def test_a_reload_in_the_middle_goes_on(chat: Chat, transport: str) -> None:
    async with lex() as service:
        service.standin.script(slowly())
        await chat.open(service.url, transport=transport)

        await chat.say("Count")
        await chat.until_said("word9")
        await chat.reload()
        await chat.until_said("word20")
        button = await chat.page.locator("#send").inner_text()
        said = await whole(chat)
        turns = await chat.turns.count()

    assert button == "Stop"
    assert (said, turns) == (TEXT, 1)
    assert service.standin.stats.requests == 1


async def test_a_reload_before_anything_came_asks_once(chat: Chat) -> None:
    async with lex() as service:
        service.standin.script({**slowly(100), "first_token_after": 0.5})
        await chat.open(service.url)

        await chat.say("Count")
        await chat.reload()
        said = await whole(chat)
        turns = await chat.turns.count()

    assert (said, turns) == (TEXT, 1)
    assert service.standin.stats.requests == 1


async def test_five_seconds_offline_cost_no_word(
    chat: Chat, context: BrowserContext, transport: str
) -> None:
    async with lex() as service:
        service.standin.script(slowly(20))
        await chat.open(service.url, transport=transport)

        await chat.say("Count")
        await chat.until_said("word9")
        await context.set_offline(True)
        await chat.until_line("You are offline")
        await asyncio.sleep(5)
        halfway = await chat.said()
        await context.set_offline(False)
        said = await whole(chat)
        connection = await chat.line.inner_text()

    assert "word59" not in halfway
    assert (said, connection) == (TEXT, "")
    assert service.standin.stats.requests == 1


@asynccontextmanager
async def worker(
    standin: Standin, folder: Path, port: int, **variables: str
) -> AsyncIterator[Process]:
    """A server without gunicorn that shares its database with the other workers."""
    variables = {
        "PORT": str(port),
        "GROQ_BASE_URL": standin.url,
        "DATABASE_URL": f"sqlite:///{folder}/lex.db",
        "DRAIN_ACCEPT_SECONDS": "0",
        "LEASE_SECONDS": "3",
        **variables,
    }
    async with (
        process("-m", "backend.server", variables=variables) as running,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        await ready(client, running)
        yield running


async def test_a_restart_in_the_middle_of_an_answer_is_not_noticed(
    chat: Chat, transport: str, tmp_path: Path
) -> None:
    port = free_port()
    async with Standin.serve() as standin:
        standin.script(slowly(40), times=None)
        async with worker(standin, tmp_path, port) as old:
            await chat.open(f"http://127.0.0.1:{port}", transport=transport)
            await chat.say("Count")
            await chat.until_said("word3")
            old.send_signal(signal.SIGTERM)
            said = await whole(chat)
            await old.wait()
        await chat.say("Again")
        await chat.until_line("The connection was lost")
        async with worker(standin, tmp_path, port):
            again = await whole(chat)
            shown = await chat.page.locator("#turns .notice").count()

    assert (said, again) == (TEXT, TEXT)
    assert shown == 0
    assert standin.stats.requests == 2


async def test_a_reader_at_a_server_that_leaves_reads_on_at_another(
    chat: Chat, tmp_path: Path
) -> None:
    one, other = free_port(), free_port()
    async with (
        Standin.serve() as standin,
        worker(standin, tmp_path, one),
        worker(standin, tmp_path, other) as leaving,
        cutting(f"http://127.0.0.1:{one}", ()) as cutter,
    ):
        standin.script(slowly(25))
        await chat.open(cutter.url)
        await chat.say("Count")
        await chat.until_said("word3")
        # From now on, the reader is connected to one worker and the turn runs on the other.
        cutter.upstream = f"http://127.0.0.1:{other}"
        cutter.break_all()
        await until_asked(chat, "/events", times=1)
        cutter.upstream = f"http://127.0.0.1:{one}"
        leaving.send_signal(signal.SIGTERM)
        said = await whole(chat)
        notices = await chat.page.locator(".notice").count()

    assert said == TEXT
    assert notices == 0
    assert standin.stats.requests == 1


async def until_asked(chat: Chat, path: str, *, times: int) -> None:
    async with waiting():
        while sum(path in request.url for request in chat.requests) < times:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("fault", "sentence", "is_retried"),
    [
        ({"kind": "status", "status": 400}, "refused this question", False),
        ({"kind": "no_finish_reason"}, "The answer broke off", True),
        ({"kind": "stall", "after_tokens": 3}, "stopped in the middle", True),
    ],
    ids=["refused", "broken off", "silent"],
)
async def test_a_failure_has_its_sentence_and_a_button_where_it_helps(
    chat: Chat, transport: str, fault: dict[str, object], sentence: str, is_retried: bool
) -> None:
    async with lex(upstream_gap_seconds=0.5, model_fallbacks="none") as service:
        service.standin.script({"text": TEXT, "tokens_per_second": 100, "fault": fault})
        await chat.open(service.url, transport=transport)

        await chat.ask("Count")
        notice = await chat.last.locator(".notice").inner_text()
        service.standin.script({"text": "Now it works."})
        again = ""
        if is_retried:
            await chat.last.get_by_role("button", name="Try again").click()
            await chat.until_said("Now it works.")
            again = await chat.answer()

    assert sentence in notice
    assert ("Try again" in notice) is is_retried
    assert again == ("Now it works." if is_retried else "")


async def test_who_asks_too_often_sees_for_how_long_to_wait(chat: Chat, transport: str) -> None:
    async with lex(rate_limit_session="1/3second") as service:
        service.standin.script({"text": "Fine."}, times=None)
        await chat.open(service.url, transport=transport)
        await chat.ask("One")

        await chat.ask("Two")
        notice = await chat.last.locator(".notice").inner_text()
        button = chat.last.locator(".notice button")
        is_disabled = await button.is_disabled()
        await chat.page.get_by_role("button", name="Try again", exact=True).click()
        await chat.until_said("Fine.")
        answer = await chat.answer()
        asked = await chat.page.locator(".asked p").all_text_contents()

    assert "many questions" in notice
    assert "Try again in" in notice
    assert is_disabled
    assert answer == "Fine."
    assert asked == ["One", "Two"]


async def test_a_session_that_is_busy_elsewhere_says_so(chat: Chat, transport: str) -> None:
    async with lex() as service:
        service.standin.script(slowly(20))
        await chat.open(service.url, transport=transport)
        session = await chat.evaluate("sessionStorage.getItem('lex.session')")
        body = {"query": "Count", "session_id": session}
        async with service.client.stream("POST", "/query", json=body) as elsewhere:
            assert elsewhere.status_code == 200
            await chat.ask("Hello")
            notice = await chat.last.locator(".notice").inner_text()
        service.standin.script({"text": "Now."})
        await service.standin.stats.until(lambda stats: stats.open_streams == 0)
        await chat.button("Try again").click()
        await chat.until_said("Now.")

    assert "still answering in this session" in notice


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        ("overloaded", "too many people"),
        ("draining", "is restarting"),
        ("storage_unavailable", "cannot save conversations"),
        ("upstream_unavailable", "cannot be reached"),
    ],
)
async def test_a_service_that_takes_no_turn_has_a_sentence(
    chat: Chat, code: str, sentence: str
) -> None:
    """The refusals are made up here; other tests show that the service sends them."""
    async with lex() as service:
        await chat.open(service.url)
        problem = {"code": code, "detail": "No.", "status": 503, "retry_after": 1}
        await chat.page.route(
            "**/query", lambda route: route.fulfill(status=503, json=problem), times=1
        )

        await chat.ask("Hello")
        notice = await chat.last.locator(".notice").inner_text()
        await chat.page.get_by_role("button", name="Try again", exact=True).click()
        await chat.until_said("stand-in")

    assert sentence in notice


async def test_a_proxy_that_has_nobody_behind_it_is_waited_for(chat: Chat) -> None:
    async with lex() as service:
        await chat.open(service.url)
        await chat.page.route(
            "**/query", lambda route: route.fulfill(status=502, body="<h1>Bad Gateway"), times=2
        )

        answer = await chat.ask("Hello")

    assert "stand-in" in answer


async def test_a_history_that_cannot_be_read_is_offered_again(chat: Chat) -> None:
    async with lex() as service:
        await chat.open(service.url)
        await chat.ask("What is the weather in Paris?")
        await chat.page.route("**/sessions/*/events", lambda route: route.abort(), times=1)
        await chat.reload()
        await chat.button("Try again").click()
        await chat.card("weather").wait_for()


async def test_who_is_not_known_signs_in_and_is_answered(chat: Chat, transport: str) -> None:
    async with lex(**WITH_SECRET) as service:
        service.standin.script({"text": "Hello, Alice."})
        await chat.open(service.url, transport=transport)

        await chat.say("Hello")
        field = chat.page.get_by_label("Access token or API key")
        await field.fill("nonsense")
        await field.press("Enter")
        await chat.page.get_by_text("This token or key was not accepted.").wait_for()
        await field.fill(token("alice"))
        await field.press("Enter")
        await chat.until_said("Hello, Alice.")
        await chat.reload()
        await chat.until_said("Hello, Alice.")
        await chat.button("Sign out").click()
        await chat.page.locator("#welcome").wait_for()
        await chat.say("Hello")
        await field.wait_for()

    stored = await chat.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}])")
    assert token("alice")[:20] not in stored


async def test_a_question_that_is_too_long_is_refused_in_words(chat: Chat, transport: str) -> None:
    async with lex(max_query_chars=10) as service:
        await chat.open(service.url, transport=transport)

        await chat.ask("Hello, hello, hello")
        notice = await chat.last.locator(".notice").inner_text()

    assert "must not exceed 10 characters" in notice


async def test_what_whoever_runs_the_service_should_know_is_on_the_page(chat: Chat) -> None:
    """The warning of `/readyz` about anonymous access on a public address."""
    async with lex() as service:
        await chat.open(service.url)
        before = await chat.page.locator("#warning").is_visible()
        readiness = (await service.client.get("/readyz")).json()
        await chat.page.route(
            "**/readyz", lambda route: route.fulfill(json={**readiness, "warnings": [WARNING]})
        )
        await chat.reload()
        warning = await chat.page.get_by_role("note").inner_text()

    assert (before, warning) == (False, WARNING)


async def has_loaded(chat: Chat) -> bool:
    """Whether the page has loaded completely, with all its files."""
    try:
        return await chat.evaluate("sessionStorage.getItem('lex.reloads')") is None
    except Error:  # the page is just being replaced by the next one
        return False


@pytest.mark.parametrize("name", ["page.js", "dom.js", "vendor/marked/marked.js", "style.css"])
async def test_a_page_whose_file_does_not_arrive_loads_again(chat: Chat, name: str) -> None:
    """This happens when the network changes: Chromium cancels all running requests."""

    async def fail_twice(route: Route) -> None:
        is_first_or_second = len(chat.navigations) < 3
        await (route.abort("connectionreset") if is_first_or_second else route.continue_())

    async with lex() as service:
        await chat.page.route(f"**/{name}", fail_twice)
        await chat.open(service.url)
        # A page that is slow to load is reloaded before its `load` event, so that is not counted.
        async with waiting():
            while len(chat.navigations) < 3 or not await has_loaded(chat):
                await asyncio.sleep(0.05)
        said = await chat.ask("Hello")

    assert said
    assert len(chat.navigations) == 3


async def test_a_page_whose_file_never_arrives_says_so_and_waits_for_the_network(
    chat: Chat,
) -> None:
    async with lex() as service:
        chat.allowed_hosts.add(urlsplit(service.url).netloc)
        await chat.page.route("**/dom.js", lambda route: route.abort("internetdisconnected"))
        await chat.navigate(lambda: chat.page.goto(service.url))
        await chat.page.get_by_role("note").wait_for()
        warning = await chat.page.get_by_role("note").inner_text()
        opened = chat.navigations

        await chat.page.unroute_all()
        await chat.evaluate("dispatchEvent(new Event('online'))")
        await chat.page.wait_for_selector("#suggestions button", state="attached")

    assert "did not load completely" in warning
    assert len(opened) == 4
