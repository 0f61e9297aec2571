"""`GET /`: the chat page, and what it loads, which is all in `backend/web` and here in memory.

A file is found by its name in a list that was made at the start: no path leads anywhere else.
"""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response

from backend.api.shell import page_policy

FOLDER = Path(__file__).parent.parent / "web"

PREFIX = "/web/"

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What else is in the folder is not for browsers."""

router = APIRouter(include_in_schema=False)


@dataclass(frozen=True, slots=True)
class File:
    """`etag` is made of what is in it, so that every worker and pod has the same."""

    plain: bytes
    packed: bytes
    etag: str
    media_type: str


@cache
def files() -> dict[str, File]:
    return {
        path.relative_to(FOLDER).as_posix(): _file(path)
        for path in sorted(FOLDER.rglob("*"))
        if path.suffix in MEDIA_TYPES
    }


def _file(path: Path) -> File:
    plain = path.read_bytes()
    etag = f'"{hashlib.sha256(plain).hexdigest()[:16]}"'
    packed = gzip.compress(plain, mtime=0)
    return File(plain, packed, etag, MEDIA_TYPES[path.suffix])


@router.get("/")
async def page(request: Request) -> Response:
    answer = _answer(request, files()["index.html"])
    answer.headers.update(POLICY)
    return answer


@router.get(PREFIX + "{path:path}")
async def asset(request: Request, path: str) -> Response:
    file = files().get(path)
    if file is None or path == "index.html":
        raise HTTPException(404)
    return _answer(request, file)


POLICY = page_policy()
# The one way from text to elements is that of the sanitiser.
POLICY["Content-Security-Policy"] += "; require-trusted-types-for 'script'; trusted-types dompurify"


def _answer(request: Request, file: File) -> Response:
    """Kept by the browser, and asked for again each time: for the price of a 304."""
    headers = {"ETag": file.etag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if _has(request, file.etag):
        return Response(status_code=304, headers=headers)
    body = file.plain
    if "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = file.packed, "gzip"
    return Response(body, headers=headers, media_type=file.media_type)


def _has(request: Request, etag: str) -> bool:
    """A proxy that packs an answer by itself marks its tag as a weak one."""
    given = request.headers.get("if-none-match", "")
    return etag in (tag.strip().removeprefix("W/") for tag in given.split(","))
