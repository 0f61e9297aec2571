"""`GET /`: the chat page, and the files that it loads. All of them are kept in memory.

Files are looked up in a list that is made once from `backend/web`, so no path can reach another
file. The page refers to its files by version, `/web/<version>/page.js`, which browsers may keep
forever. `/web/page.js` works as well, and is revalidated by its `ETag`.

`loading.js` is inlined, because it acts when other files fail to load. The Content-Security-Policy
allows it by its hash, and no other inline script.
"""

import base64
import gzip
import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

from backend.api.middleware.security_headers import page_policy

FOLDER = Path(__file__).parent.parent / "web"

PREFIX = "/web/"

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Files with other suffixes are not served."""

LOADING_TAG = b'<script src="/web/loading.js"></script>'

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class File:
    """A file of the page. `etag` is a hash of its content, so that all workers and pods agree."""

    plain: bytes
    packed: bytes
    etag: str
    media_type: str


@cache
def files() -> dict[str, File]:
    return {
        path.relative_to(FOLDER).as_posix(): _file(path.read_bytes(), path.suffix)
        for path in sorted(FOLDER.rglob("*"))
        if path.suffix in MEDIA_TYPES
    }


@cache
def version() -> str:
    """One version for all files together, because each may load any other."""
    return _digest("".join(file.etag for file in files().values()).encode())


def prepare() -> None:
    """Read and compress all files at start-up, so that no request blocks the event loop with it."""
    _index()
    page_headers()


@cache
def _index() -> File:
    inline = b"<script>" + files()["loading.js"].plain + b"</script>"
    plain = files()["index.html"].plain.replace(LOADING_TAG, inline)
    return _file(plain.replace(b'="/web/', f'="{PREFIX}{version()}/'.encode()), ".html")


def _file(plain: bytes, suffix: str) -> File:
    packed = gzip.compress(plain, mtime=0)  # without a time, all workers send the same bytes
    return File(plain, packed, f'"{_digest(plain)}"', MEDIA_TYPES[suffix])


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


@router.head("/")
@router.get("/")
async def page(request: Request) -> Response:
    answer = _answer(request, _index(), ASK_AGAIN)
    answer.headers.update(page_headers())
    return answer


@router.head(PREFIX + "{path:path}")
@router.get(PREFIX + "{path:path}")
async def asset(request: Request, path: str) -> Response:
    """Serve the current version, even to an older page, which then must not cache it."""
    given, _, name = path.partition("/")
    is_versioned = re.fullmatch("[0-9a-f]{16}", given) is not None
    name = name if is_versioned else path
    file = files().get(name)
    if file is None or name == "index.html":
        raise HTTPException(404)
    return _answer(request, file, KEEP if given == version() else ASK_AGAIN)


ASK_AGAIN = "no-cache"
KEEP = "public, max-age=31536000, immutable"


@cache
def page_headers() -> dict[str, str]:
    """The Content-Security-Policy of the page."""
    digest = base64.b64encode(hashlib.sha256(files()["loading.js"].plain).digest()).decode()
    policy = page_policy(script=f"'self' 'sha256-{digest}'")
    # Only the sanitiser (DOMPurify) may turn text into elements.
    policy["Content-Security-Policy"] += (
        "; require-trusted-types-for 'script'; trusted-types dompurify"
    )
    return policy


def _answer(request: Request, file: File, keeping: str) -> Response:
    headers = {"ETag": file.etag, "Cache-Control": keeping, "Vary": "Accept-Encoding"}
    if _has(request, file.etag):
        return Response(status_code=304, headers=headers)
    body = file.plain
    if "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = file.packed, "gzip"
    return Response(body, headers=headers, media_type=file.media_type)


def _has(request: Request, etag: str) -> bool:
    """Whether the browser has this version. Proxies that compress turn the tag into a weak one."""
    given = request.headers.get("if-none-match", "")
    return etag in (tag.strip().removeprefix("W/") for tag in given.split(","))
