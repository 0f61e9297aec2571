"""Accessibility: keyboard, screen reader, zoom, narrow pages, light and dark."""

import json
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.browser.chat import STANDIN, Chat
from tests.processes import ROOT
from tests.serving import Lex, lex

AXE = ROOT / ".venv/npm/axe-core/axe.min.js"

BAD = {"name": "get_dealership_address", "arguments": {"dealership_id": "atlantis"}}
BROKEN = {"name": "get_weather", "arguments": "{"}


async def violations(chat: Chat) -> list[str]:
    assert AXE.exists(), "axe-core is missing: make test-system fetches it"
    await chat.evaluate(AXE.read_text() + "; undefined")
    found: dict[str, Any] = await chat.evaluate("axe.run()")
    return [
        f"{each['id']}: {json.dumps([node['html'] for node in each['nodes']])}"
        for each in found["violations"]
    ]


async def with_all_cards(chat: Chat, service: Lex) -> None:
    await chat.open(service.url)
    await chat.ask("What is the weather in Paris and in Tokyo?")
    await chat.ask("Where is the London dealership?")
    await chat.ask("I am user 123. When can I drive the Apex GT in Beverly Hills tomorrow?")
    await chat.card("slots").get_by_role("button").first.click()
    await chat.card("confirmation").wait_for()
    await chat.settled()
    await chat.ask("What do you know about me?")
    markdown = (
        "# One\n\n## Two\n\n> quoted `code`\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\nx\n```"
    )
    service.standin.script({"calls": [BAD, BROKEN]}, {"text": markdown})
    await chat.ask("And Atlantis?")
    service.standin.script({"fault": {"kind": "status", "status": 500}}, times=None)
    await chat.ask("And now?")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1180, 360])
async def test_axe_finds_nothing(chat: Chat, scheme: Any, width: int) -> None:
    await chat.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    await chat.page.set_viewport_size({"width": width, "height": 800})
    async with lex(**STANDIN) as service:
        await chat.open(service.url)
        empty = await violations(chat)
        await with_all_cards(chat, service)
        full = await violations(chat)
        kinds = await chat.page.locator(".card").evaluate_all(
            "cards => [...new Set(cards.map(card => card.classList[1]))].sort()"
        )
        await chat.page.locator("#sign-in").evaluate("dialog => dialog.showModal()")
        signing_in = await violations(chat)
        await chat.page.keyboard.press("Escape")
        if width == 360:
            await chat.button("Sessions").click()
        listed = await violations(chat)

    assert kinds == [
        "confirmation", "dealership", "failed", "profile", "refused", "slots", "weather",
    ]  # fmt: skip
    assert (empty, full, signing_in, listed) == ([], [], [], [])


async def test_a_booking_is_made_with_the_keyboard_alone(chat: Chat) -> None:
    async with lex(**STANDIN) as service:
        await chat.open(service.url)
        keyboard = chat.page.keyboard

        await keyboard.type(
            "I am user 123. When can I drive the Apex GT in Beverly Hills tomorrow?"
        )
        await keyboard.press("Enter")
        await chat.settled()
        for _ in range(40):
            await keyboard.press("Shift+Tab")
            focused = await chat.evaluate("document.activeElement.getAttribute('aria-label')")
            if focused == "Book 14:00":
                break
        await keyboard.press("Space")
        await chat.card("confirmation").wait_for()
        await chat.settled()
        booked = await chat.card("confirmation").inner_text()

    assert "Apex GT" in booked
    assert "14:00" in booked


async def test_everything_is_reached_by_the_keyboard_and_seen_to_be(chat: Chat) -> None:
    async with lex(**STANDIN) as service:
        await chat.open(service.url)
        reached = []
        unseen = []
        for _ in range(14):
            await chat.page.keyboard.press("Tab")
            name, is_seen = await chat.evaluate("""() => {
                const at = document.activeElement, style = getComputedStyle(at);
                const around = getComputedStyle(at.parentElement ?? at);
                const is = style => style.outlineStyle !== "none" && style.outlineWidth !== "0px";
                if (at === document.body) return ["body", false];  // the browser itself
                return [at.id || at.textContent.trim(), is(style) || is(around)]; }""")
            reached.append(name)
            if not is_seen and name != "body":
                unseen.append(name)

    assert {"Skip to the question", "realtime", "new", "scroller", "question", "send"} <= set(
        reached
    )
    assert unseen == []


async def test_who_listens_is_told_of_tools_and_of_the_whole_answer_once(chat: Chat) -> None:
    async with lex() as service:
        service.standin.script({"text": "One two three four five six.", "tokens_per_second": 20})
        await chat.open(service.url)
        await chat.evaluate("""() => { window.told = [];
            for (const region of document.querySelectorAll(
                    "[aria-live], [role=status], [role=log], [role=alert]"))
                new MutationObserver(records => { for (const {addedNodes} of records)
                    for (const node of addedNodes) told.push(node.textContent);
                }).observe(region, {childList: true, subtree: true, characterData: true});
        }""")

        await chat.ask("Count")
        told = await chat.evaluate("told.filter(text => text)")

    assert told == ["Lex: One two three four five six."]


@pytest.mark.parametrize(
    ("width", "height", "zoom"), [(360, 740, 1), (1280, 800, 2), (320, 480, 1)]
)
async def test_nothing_is_cut_off_on_a_small_or_enlarged_page(
    chat: Chat, width: int, height: int, zoom: int
) -> None:
    """Zoom is simulated by a smaller viewport: a zoomed page has fewer CSS pixels."""
    await chat.page.set_viewport_size({"width": width // zoom, "height": height // zoom})
    async with lex(**STANDIN) as service:
        await with_all_cards(chat, service)
        wide = await chat.evaluate("document.documentElement.scrollWidth - innerWidth")
        cut = await chat.page.locator(".card, .card *, .notice, .asked p, #ask *").evaluate_all(
            """all => all.filter(each => {
                const box = each.getBoundingClientRect();
                return box.width > 1 && (box.left < 0 || box.right > innerWidth + 0.5);
            }).map(each => each.outerHTML.slice(0, 100))"""
        )
        await chat.page.locator("#question").scroll_into_view_if_needed()
        field = await chat.page.locator("#question").bounding_box()

    assert (wide, cut) == (0, [])
    assert field
    assert field["width"] > 100


async def test_who_wants_little_motion_sees_none(chat: Chat) -> None:
    await chat.page.emulate_media(reduced_motion="reduce")
    async with lex() as service:
        service.standin.script({"text": "Well.", "first_token_after": 1})
        await chat.open(service.url)
        await chat.say("Hello")
        moving = await chat.evaluate("document.getAnimations().length")

    assert moving == 0


async def test_a_word_is_not_sent_before_it_is_composed(chat: Chat) -> None:
    async with lex() as service:
        await chat.open(service.url)
        await chat.page.fill("#question", "ni hao")
        await chat.page.dispatch_event(
            "#question", "keydown", {"key": "Enter", "isComposing": True, "bubbles": True}
        )
        await chat.page.press("#question", "Shift+Enter")
        lines = await chat.page.input_value("#question")
        turns = await chat.turns.count()

    assert (lines, turns) == ("ni hao\n", 0)


@pytest.fixture
def pictures(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--pictures"))


@pytest.mark.parametrize(
    ("name", "width", "height", "scheme"),
    [("light", 1180, 1050, "light"), ("dark", 1180, 860, "dark"), ("phone", 390, 844, "light")],
)
async def test_pictures_of_the_page_are_made(
    browser: Browser, pictures: bool, name: str, width: int, height: int, scheme: Any
) -> None:
    """`--pictures` saves them for the README."""
    context = await browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme
    )
    try:
        chat = await Chat.new(context)
        async with lex(**STANDIN) as service:
            await chat.open(service.url)
            if name == "light":
                await chat.button("What is the weather").click()
                await chat.settled()
            await chat.ask("Book the Apex GT in Beverly Hills tomorrow at 11 for user 123")
            await chat.card("confirmation").wait_for()
            if name == "dark":
                await chat.ask("Which slots are free there?")
            picture = await chat.page.screenshot(type="png")
    finally:
        await context.close()

    assert len(picture) > 10_000
    if pictures:
        (ROOT / f".github/pictures/{name}.png").write_bytes(picture)
