"""Hostile text from a model, a tool or a person runs no code and stays in its place."""

import json

import pytest

from tests.browser.chat import Chat
from tests.serving import lex

RLO, PDI = "\N{RIGHT-TO-LEFT OVERRIDE}", "\N{POP DIRECTIONAL ISOLATE}"

HOSTILE = f"""
<script>window.ran = "script"</script> <img src=x onerror="window.ran = 'image'">
<svg onload="window.ran = 'svg'"><iframe srcdoc="<script>parent.ran = 'frame'</script>"></iframe>
<a href="javascript:window.ran = 'link'">a</a> <style>body {{ display: none }}</style>
<form action="/"><input name=x autofocus onfocus="window.ran = 'focus'"></form>
<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=ran=1&gt;">

[go](javascript:window.ran='markdown') [data](data:text/html,<script>ran=1</script>)
[tab](java\tscript:ran=1) [entity](&#106;avascript:ran=1) <javascript:ran=1>
![picture](https://tracker.example/x.png) [ref]: javascript:ran=1
[ref] **unclosed *broken `code [link](http://

| a | b
|---
| {"x" * 300} | <td onmouseover=ran=1>

{RLO}txet desrever si siht{PDI}{PDI} {RLO} {"w" * 2000}

<!-- <div style="position:fixed;inset:0;background:red"> <plaintext> </textarea> ```
"""

AS_IT_SHOULD = """() => ({
    ran: window.ran ?? null,
    strange: [...document.querySelectorAll("#turns *")].filter(each =>
        each.matches("script, iframe, img, style, form, input, object, math, base, link, meta")
        || [...each.attributes].some(({name}) => name.startsWith("on") || name === "style")
        || /^\\s*(javascript|data|vbscript):/i.test(each.getAttribute("href") ?? "")
    ).map(each => each.outerHTML),
    wide: document.documentElement.scrollWidth - window.innerWidth,
    field: document.getElementById("question").getBoundingClientRect().width > 100,
    focused: document.activeElement.id,
})"""


async def assert_nothing_happened(chat: Chat) -> None:
    for link in await chat.page.locator("#turns a[href]").all():
        href = await link.get_attribute("href") or ""
        assert href.startswith(("http://", "https://", "mailto:", "tel:"))
    found = await chat.evaluate(AS_IT_SHOULD)
    found["focused"] = found["focused"] or "question"
    assert found == {"ran": None, "strange": [], "wide": 0, "field": True, "focused": "question"}


@pytest.mark.parametrize("width", [1180, 360])
async def test_what_a_model_writes_is_text(chat: Chat, width: int) -> None:
    async with lex() as service:
        service.standin.script({"text": HOSTILE, "tokens_per_second": 2000})
        await chat.page.set_viewport_size({"width": width, "height": 740})
        await chat.open(service.url)

        said = await chat.ask("Hello")
        await assert_nothing_happened(chat)
        await chat.reload()
        again = await chat.answer()
        await assert_nothing_happened(chat)

    assert '<script>window.ran = "script"</script>' in said
    assert again == said


async def test_what_a_person_writes_is_text(chat: Chat, transport: str) -> None:
    query = HOSTILE.replace("\t", " ").strip()
    async with lex() as service:
        service.standin.script({"text": "Well."})
        await chat.open(service.url, transport=transport)

        await chat.ask(query)
        await assert_nothing_happened(chat)
        await chat.reload()
        await chat.settled()
        await assert_nothing_happened(chat)
        asked = await chat.page.locator(".asked p").text_content()

    assert asked == query


async def test_what_a_tool_is_told_and_says_is_text(chat: Chat) -> None:
    short = HOSTILE[:190].replace("\n", " ")
    calls = [
        {"name": "get_weather", "arguments": {"city": short}},
        {"name": "get_dealership_address", "arguments": {"dealership_id": HOSTILE}},
        # Text in angle brackets is removed from a tool's name before the page gets it.
        {"name": "&lt;img/src=x/onerror=ran=1&gt;", "arguments": HOSTILE},
    ]
    async with lex() as service:
        service.standin.script({"calls": calls}, {"text": "Well."})
        await chat.open(service.url)

        await chat.ask("Hello")
        await assert_nothing_happened(chat)
        cards = await chat.page.locator(".card").count()

    assert cards == len(calls)


OUTPUTS = {
    "get_weather": ["city", "temperature", "conditions", "source"],
    "get_dealership_address": ["dealership_id", "name", "address", "phone", "hours", "map_link"],
    "check_appointment_availability": ["dealership_id", "date", "slots", "time_zone"],
    "fetch_user_profile": ["user_id", "name", "preferred_dealership", "coming_test_drives"],
    "schedule_appointment": ["confirmation_id", "dealership", "date", "car_model"],
    "sound_horn": ["sound"],
}


@pytest.mark.parametrize("value", ["javascript:ran=1", HOSTILE, None, 1, [], {}], ids=repr)
async def test_a_card_takes_whatever_it_is_given(chat: Chat, value: object) -> None:
    """None of our tools returns such values, but a tool that asks another service might."""
    async with lex() as service:
        await chat.open(service.url)
        outputs = {
            name: dict.fromkeys(fields, value) | {"time": "10:00", "time_zone": "UTC"}
            for name, fields in OUTPUTS.items()
        }
        await chat.evaluate(
            """async outputs => { const {card} = await import("/web/cards.js");
            for (const [name, output] of Object.entries(JSON.parse(outputs)))
                document.getElementById("turns").append(card({id: "1", name, output}, () => {}));
            }""",
            json.dumps(outputs),
        )
        for link in await chat.page.locator("#turns a[href]").all():
            href = await link.get_attribute("href") or ""
            assert href.startswith(("http", "tel:", "blob:"))
        found = await chat.evaluate(AS_IT_SHOULD)
        shown = await chat.page.locator("#turns .card").count()

    assert shown == len(OUTPUTS)
    assert (found["ran"], found["strange"], found["wide"]) == (None, [], 0)


async def test_the_policy_of_the_page_lets_nobody_write_elements(chat: Chat) -> None:
    """The second line of defence, in case the sanitiser fails."""
    async with lex() as service:
        await chat.open(service.url)
        refused = await chat.evaluate(
            """() => { try { document.body.innerHTML = "<img src=x onerror=ran=1>"; }
            catch (error) { return error.name; } }"""
        )
        inline = await chat.evaluate(
            """async () => { const script = document.createElement("script");
            try { script.text = "window.ran = 1"; document.head.append(script); } catch {}
            return window.ran ?? null; }"""
        )

    chat.broken.clear()
    assert (refused, inline) == ("TypeError", None)
