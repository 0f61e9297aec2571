"""The API's documentation page in a real browser, which enforces its security policy."""

from tests.chromium import chromium
from tests.serving import lex


async def test_it_shows_every_call_and_breaks_no_rule_of_its_own() -> None:
    async with lex() as service, chromium() as browser:
        page = await browser.new_page()
        complaints: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))

        await page.goto(f"{service.url}/docs")
        await page.wait_for_selector("details")
        shown = await page.locator("summary code").all_text_contents()
        described = (await service.client.get("/openapi.json")).json()["paths"]

    calls = {f"{method.upper()} {path}" for path, each in described.items() for method in each}
    assert set(shown) == calls
    # Browsers request an icon unasked.
    assert [text for text in complaints if "404" not in text] == []
    assert {url for url in asked if not url.startswith(service.url)} == set()
