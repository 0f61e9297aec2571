"""A conversation without faults: streamed text, tools, cards, sessions."""

import json
import re

from tests.browser.chat import STANDIN, Chat
from tests.serving import lex

COUNTED = " ".join(f"word{n}" for n in range(40))
"""An answer that takes about two seconds, so that a test can interrupt it."""
COUNT = {"text": COUNTED, "tokens_per_second": 30}


async def test_an_answer_is_shown_while_it_is_written(chat: Chat, transport: str) -> None:
    async with lex() as service:
        service.standin.script(COUNT)
        await chat.open(service.url, transport=transport)

        await chat.say("Count")
        await chat.until_said("word3")
        halfway = await chat.said()
        whole = await chat.answer()

    assert "word39" not in halfway
    assert COUNTED.startswith(halfway[:20])
    assert whole == COUNTED


async def test_each_way_asks_as_it_says(chat: Chat, transport: str) -> None:
    async with lex() as service:
        await chat.open(service.url, transport=transport)
        await chat.ask("Hello")

    posted = [request for request in chat.requests if request.method == "POST"]
    assert len(posted) == (1 if transport == "sse" else 0)


async def test_the_switch_changes_the_way_and_is_remembered(chat: Chat) -> None:
    async with lex() as service:
        await chat.open(service.url)
        switch = chat.page.get_by_role("switch", name="Realtime")
        await chat.ask("Hello")
        async with chat.page.expect_websocket() as opened:
            await switch.click()
            await chat.ask("What is the weather in Paris?")
        url = (await opened.value).url
        await chat.reload()
        is_on = await switch.get_attribute("aria-checked")

    assert re.fullmatch(r"ws://[\d.:]+/ws/sessions/[0-9a-f]{32}", url)
    assert is_on == "true"


async def test_markdown_is_set_and_grows_by_its_last_block_alone(chat: Chat) -> None:
    text = (
        "# Cars\n\nThe **Apex GT** and the *Volt E*.\n\n"
        + "".join(f"{n}. item `{n}`\n    - part\n" for n in range(1, 120))
        + "\n| model | power |\n|---|--:|\n"
        + "".join(f"| car {n} | {n} kW |\n" for n in range(120))
        + "\n```python\n"
        + "".join(f"line = {n}\n" for n in range(200))
        + "```\n\n> quoted\n\n[Site](https://example.com/) - [x] done"
    )
    async with lex(max_completion_tokens=100_000) as service:
        service.standin.script({"text": text, "tokens_per_second": 3000})
        await chat.open(service.url)
        await chat.say("Tell me")
        await chat.last.locator(".said ol li").first.wait_for()
        await chat.evaluate("window.heading = document.querySelector('.said h3')")
        await chat.settled()

        is_kept = await chat.evaluate("heading === document.querySelector('.said h3')")
        said = chat.last.locator(".said")
        blocks = await said.evaluate("said => [...said.children].map(each => each.localName)")
        items = await said.locator("ol > li").count()
        rows = await said.locator("tbody tr").count()
        code = await said.locator("pre code").text_content()
        link = said.locator("a")
        attributes = [await link.get_attribute(name) for name in ("href", "target", "rel")]
        numbers = await said.locator("ol").evaluate("list => [list.start, list.children.length]")

    assert is_kept
    assert blocks == ["h3", "p", "ol", "div", "pre", "blockquote", "p"]
    assert (items, rows, numbers) == (119, 120, [1, 119])
    assert code == "".join(f"line = {n}\n" for n in range(200))
    assert attributes == ["https://example.com/", "_blank", "noopener noreferrer"]


async def test_what_is_looked_up_is_said_while_it_is(chat: Chat) -> None:
    call = {"name": "get_weather", "arguments": {"city": "Paris"}}
    async with lex() as service:
        service.standin.script({"calls": [call]}, {"text": "Fine.", "first_token_after": 0.3})
        await chat.open(service.url)
        await chat.evaluate(
            """() => { window.worked = []; new MutationObserver(records => {
            for (const {addedNodes} of records) for (const node of addedNodes)
                if (node.className === "working") worked.push(node.textContent);
            }).observe(document.getElementById("turns"), {childList: true, subtree: true}); }"""
        )

        await chat.ask("Weather?")

        worked = await chat.evaluate("worked")
        left = await chat.page.locator(".working").count()
        spoken = await chat.page.locator("#spoken p").all_text_contents()

    assert worked == ["Looking up the weather in Paris…"]
    assert left == 0
    assert spoken == ["Looking up the weather in Paris", "Lex: Fine."]


async def test_each_tool_has_a_card(chat: Chat) -> None:
    async with lex() as service:
        await chat.open(service.url)

        await chat.ask("What is the weather in Paris and in New York?")
        weather = await chat.card("weather").all_inner_texts()
        await chat.ask("Where is the London dealership?")
        dealership = chat.card("dealership")
        links = await dealership.locator("a").evaluate_all("links => links.map(a => a.href)")
        hours = await dealership.locator("li").all_text_contents()
        await chat.ask("I am user 123. Which slots are free in Beverly Hills tomorrow?")
        slots = await chat.card("slots").locator("button").all_text_contents()
        await chat.ask("What do you know about user 123?")
        profile = await chat.card("profile").inner_text()

    assert len(weather) == 2
    assert any("New York" in text and "34°C" in text and "Sunny" in text for text in weather)
    assert links[0].startswith("https://www.openstreetmap.org/search?query=88+Park+Lane")
    assert links[1] == "tel:+442079460321"
    assert "Sun closed" in hours
    assert len(slots) >= 6
    assert all(re.fullmatch(r"\d\d:00", slot) for slot in slots)
    assert "Usually at" in profile


async def test_a_no_and_a_breakdown_look_like_what_they_are(chat: Chat) -> None:
    calls = [
        {"name": "get_dealership_address", "arguments": {"dealership_id": "atlantis"}},
        {"name": "get_weather", "arguments": "{"},
    ]
    async with lex() as service:
        service.standin.script({"calls": calls}, {"text": "Sorry."})
        await chat.open(service.url)

        await chat.ask("Where is Atlantis?")

        refused = await chat.card("refused").inner_text()
        failed = await chat.card("failed").inner_text()

    assert "Not possible" in refused
    assert "atlantis" in refused
    assert "That did not work" in failed


async def test_a_booking_is_made_with_the_mouse_alone(chat: Chat) -> None:
    async with lex(**STANDIN) as service:
        await chat.open(service.url)

        await chat.button("When can I drive the Apex GT").click()
        await chat.settled()
        await chat.card("slots").get_by_role("button", name="Book 11:00").click()
        await chat.card("confirmation").wait_for()
        await chat.settled()
        card = await chat.card("confirmation").inner_text()
        async with chat.page.expect_download() as download:
            await chat.page.get_by_role("link", name="Add to calendar").click()
        file = await download.value
        content = (await file.path()).read_bytes().decode()
        profile = (await service.client.get(f"/sessions/{await session_of(chat)}/events")).json()

    outputs = [event["data"] for event in profile["events"] if event["type"] == "tool_result"]
    booked = next(each["output"] for each in outputs if each["name"] == "schedule_appointment")
    assert "Apex GT" in card
    assert booked["confirmation_id"] in card
    assert file.suggested_filename == f"test-drive-{booked['confirmation_id']}.ics"
    assert content.startswith("BEGIN:VCALENDAR\r\n")
    # Beverly Hills is 8 hours behind UTC in winter and 7 in summer.
    day = booked["date"].replace("-", "")
    assert re.search(rf"\r\nDTSTART:{day}T1[89]0000Z\r\n", content)
    assert f"UID:{booked['confirmation_id']}@lex\r\n" in content


async def session_of(chat: Chat) -> str:
    session: str = await chat.evaluate("sessionStorage.getItem('lex.session')")
    return session


async def test_a_moment_is_right_on_both_sides_of_a_change_of_the_clocks(chat: Chat) -> None:
    async with lex() as service:
        await chat.open(service.url)
        moments = await chat.evaluate(
            """async () => {
            const {instant} = await import("/web/calendar.js");
            return [
                ["2027-03-14", "01:00", "America/New_York"],
                ["2027-03-14", "10:00", "America/New_York"],
                ["2027-10-31", "09:00", "Europe/London"],
                ["2026-12-01", "10:00", "Asia/Tokyo"],
                ["2027-04-04", "10:00", "Australia/Sydney"],
            ].map(each => instant(...each).toISOString()); }"""
        )

    assert moments == [
        "2027-03-14T06:00:00.000Z",
        "2027-03-14T14:00:00.000Z",
        "2027-10-31T09:00:00.000Z",
        "2026-12-01T01:00:00.000Z",
        "2027-04-04T00:00:00.000Z",
    ]


async def test_an_answer_is_stopped(chat: Chat, transport: str) -> None:
    async with lex() as service:
        service.standin.script({"text": COUNTED, "tokens_per_second": 10})
        await chat.open(service.url, transport=transport)

        await chat.say("Count")
        await chat.until_said("word2")
        await chat.button("Stop").click()
        said = await chat.answer()
        note = await chat.last.locator(".note").inner_text()
        await service.standin.stats.until(lambda stats: stats.closed_early == 1)
        await chat.button("Send").wait_for()
        session = await session_of(chat)
        events = (await service.client.get(f"/sessions/{session}/events")).json()["events"]
        await chat.reload()
        await chat.last.locator(".note").wait_for()
        later = await chat.last.locator(".note").all_inner_texts()

    assert "word39" not in said
    assert note == "You stopped this answer."
    assert events[-1]["data"] == {"outcome": "cancelled"}
    assert later == ["This answer was stopped."], "whoever did it: a history does not know"


async def test_another_reader_of_a_session_sees_that_an_answer_was_stopped(
    chat: Chat, transport: str
) -> None:
    async with lex() as service:
        service.standin.script({"text": COUNTED, "tokens_per_second": 3})
        await chat.open(service.url, transport=transport)
        await chat.say("Count")
        await chat.until_said("word2")
        other = await Chat.new(chat.page.context)
        await other.open(service.url, transport=transport)
        await other.until_said("word2")

        await chat.button("Stop").click()
        said = [await chat.answer(), await other.answer()]
        notes = [await each.last.locator(".note").all_inner_texts() for each in (chat, other)]

    assert said[0] == said[1]
    assert notes == [["You stopped this answer."], ["This answer was stopped."]]
    assert other.broken == []


async def test_an_answer_that_was_cut_says_so_now_and_later(chat: Chat, transport: str) -> None:
    async with lex() as service:
        service.standin.script({"text": "It is mild and", "finish_reason": "length"})
        await chat.open(service.url, transport=transport)

        said = await chat.ask("Weather?")
        note = await chat.last.locator(".note").all_inner_texts()
        spoken = await chat.page.locator("#spoken p").all_text_contents()
        await chat.reload()
        await chat.last.locator(".note").wait_for()
        later = await chat.last.locator(".note").all_inner_texts()

    assert said == "It is mild and"
    assert note == later == ["This answer was cut off because it became too long."]
    assert spoken == ["Lex: It is mild and", *note]


async def test_a_whole_answer_and_a_failure_have_no_note(chat: Chat) -> None:
    async with lex(turn_timeout_seconds=1) as service:
        await chat.open(service.url)
        await chat.ask("Hello")
        whole = await chat.last.locator(".note").count()
        service.standin.script({"text": "late", "first_token_after": 30})
        await chat.ask("Wait")
        notice = await chat.last.locator(".notice p").all_inner_texts()
        late = await chat.last.locator(".note").count()

    assert (whole, late) == (0, 0)
    assert notice == ["The answer took too long."]


async def test_sessions_are_listed_opened_again_and_forgotten(chat: Chat) -> None:
    async with lex() as service:
        await chat.open(service.url)
        await chat.ask("What is the weather in Paris?")
        first = await session_of(chat)
        await chat.button("New session").click()
        await chat.page.locator("#welcome").wait_for()
        await chat.ask("Hello there")

        listed = await chat.page.locator(".session").all_text_contents()
        await chat.button("What is the weather in Paris?", exact=True).click()
        await chat.card("weather").wait_for()
        opened = await chat.turns.count()
        await chat.button("Forget: What is the weather in Paris?").click()
        await chat.page.locator("#welcome").wait_for()
        left = await chat.page.locator(".session").all_text_contents()
        gone = await service.client.get(f"/sessions/{first}")

    assert listed == ["Hello there", "What is the weather in Paris?"]
    assert opened == 1
    assert left == ["Hello there"]
    assert gone.status_code == 404


async def test_a_reload_brings_back_everything_as_it_was(chat: Chat) -> None:
    call = {"name": "get_weather", "arguments": {"city": "Paris"}}
    async with lex() as service:
        await chat.open(service.url)
        await chat.ask("I am user 123. Which slots are free in Beverly Hills tomorrow?")
        await chat.ask("Where is the London dealership?")
        service.standin.script({"calls": [call]}, {"fault": {"kind": "status", "status": 400}})
        await chat.ask("Weather?")
        before = await chat.page.locator("#turns").inner_text()

        await chat.reload()
        await chat.turns.nth(2).wait_for()
        await chat.settled()
        after = await chat.page.locator("#turns").inner_text()

    assert after.replace("Try again", "").split() == before.replace("Try again", "").split()


async def test_it_says_when_no_model_answers(chat: Chat) -> None:
    async with lex(**STANDIN) as service:
        await chat.open(service.url)
        await chat.page.get_by_text("Stand-in, not a model").wait_for()
    async with lex(model_name="llama-3.3-70b-versatile") as service:
        await chat.open(service.url)
        shown = await chat.page.get_by_text("Stand-in, not a model").is_visible()

    assert not shown


async def test_an_unknown_tool_has_a_card_too(chat: Chat) -> None:
    async with lex() as service:
        await chat.open(service.url)
        text = await chat.evaluate(
            """async () => { const {card} = await import("/web/cards.js");
            const made = card({id: "1", name: "sound_horn", output: {sound: "honk"}}, () => {});
            return made.textContent; }"""
        )

    assert "sound_horn" in text
    assert json.loads(text.removeprefix("sound_horn")) == {"sound": "honk"}
