"""The chat page and its files as bytes. `tests/browser` runs them in a browser."""

import base64
import gzip
import hashlib
import re

import pytest

from backend.api.page import FOLDER, MEDIA_TYPES, version
from tests.serving import Lex

LOADED = [
    path.relative_to(FOLDER).as_posix()
    for path in sorted(FOLDER.rglob("*"))
    if path.suffix in MEDIA_TYPES and path.name != "index.html"
]


async def test_the_root_is_the_chat_page(service: Lex) -> None:
    page = await service.client.get("/")

    assert page.headers["content-type"] == "text/html; charset=utf-8"
    inline = f"<script>{(FOLDER / 'loading.js').read_text()}</script>"
    shown = page.text.replace(inline, '<script src="/web/loading.js"></script>')
    assert shown.replace(f"/web/{version()}/", "/web/") == (FOLDER / "index.html").read_text()


async def test_the_page_loads_from_its_own_host_alone_and_runs_one_inline_script(
    service: Lex,
) -> None:
    page = await service.client.get("/")

    policy = page.headers["content-security-policy"]
    inline = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    hashes = [base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() for code in inline]
    allowed = "".join(f" 'sha256-{each}'" for each in hashes)
    assert f"default-src 'none'; script-src 'self'{allowed}; style-src 'self'" in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert len(inline) == 1
    assert re.findall(r"<script(?! type=\"module\" src=|>)|<style| style=| on\w+=", page.text) == []
    assert [url for url in re.findall(r'(?:src|href)="([^"]*)"', page.text) if "//" in url] == []


@pytest.mark.parametrize("name", LOADED)
async def test_a_file_comes_with_its_type_and_is_not_sent_twice(service: Lex, name: str) -> None:
    first = await service.client.get(f"/web/{name}")
    tag = first.headers["etag"]
    again = await service.client.get(f"/web/{name}", headers={"If-None-Match": tag})
    packed = await service.client.get(f"/web/{name}", headers={"If-None-Match": f'"x", W/{tag}'})
    changed = await service.client.get(f"/web/{name}", headers={"If-None-Match": '"other"'})

    assert first.content == (FOLDER / name).read_bytes()
    assert first.headers["content-type"] == MEDIA_TYPES[f".{name.rpartition('.')[2]}"]
    assert first.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == tag
    assert (packed.status_code, changed.status_code) == (304, 200)


async def test_a_file_is_kept_under_its_version_and_only_under_that(service: Lex) -> None:
    page = await service.client.get("/")
    paths = re.findall(r'(?:src|href)="(/web/[^"]*)"', page.text)
    kept = [await service.client.get(path) for path in paths]
    older = await service.client.get("/web/0123456789abcdef/page.js")

    assert {answer.headers["cache-control"] for answer in kept} == {
        "public, max-age=31536000, immutable"
    }
    assert older.headers["cache-control"] == page.headers["cache-control"] == "no-cache"
    assert older.content == (FOLDER / "page.js").read_bytes()


async def test_files_are_compressed_for_clients_that_accept_it(service: Lex) -> None:
    async with service.client.stream("GET", "/web/page.js") as packed:
        sent = b"".join([part async for part in packed.aiter_raw()])
    plain = await service.client.get("/web/page.js", headers={"Accept-Encoding": "identity"})

    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert gzip.decompress(sent) == plain.content


@pytest.mark.parametrize(
    "path",
    [
        "/web/",
        "/web/index.html",
        "/web/nothing.js",
        "/web/tsconfig.json",
        "/web/vendor/kept.json",
        "/web/../main.py",
        "/web/%2e%2e/main.py",
        "/web/..%2fmain.py",
        "/web/vendor/../../main.py",
        "/web//etc/passwd",
        "/web/page.js/",
        "/web/0123456789abcdef/index.html",
        "/web/0123456789abcdef/0123456789abcdef/page.js",
        "/web/0123456789abcdef/../../main.py",
    ],
)
async def test_no_path_leads_anywhere_else(service: Lex, path: str) -> None:
    request = service.client.build_request("GET", "/")
    request.url = request.url.copy_with(raw_path=path.encode())
    answer = await service.client.send(request)

    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


async def test_the_page_of_this_service_is_preloaded_whole(service: Lex) -> None:
    page = await service.client.get("/")

    preloaded = set(re.findall(rf'modulepreload" href="/web/{version()}/([^"]*)"', page.text))
    assert preloaded | {"page.js", "loading.js"} == {
        name for name in LOADED if name.endswith(".js")
    }
