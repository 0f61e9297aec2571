"""`GET /docs`: the description of the API for people, from this host alone.

A page of our own, of some hundred lines. What FastAPI brings loads two megabytes of script from
a foreign host, and cannot show a stream.
"""

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from backend.api.middleware.security_headers import page_policy

router = APIRouter(prefix="/docs", include_in_schema=False)

_FOLDER = Path(__file__).parent / "docs_page"


@router.head("")
@router.get("")
async def page() -> FileResponse:
    return FileResponse(_FOLDER / "docs.html", headers=page_policy())


@router.head("/docs.js")
@router.get("/docs.js")
async def script() -> FileResponse:
    return FileResponse(_FOLDER / "docs.js", media_type="text/javascript")


@router.head("/docs.css")
@router.get("/docs.css")
async def style() -> FileResponse:
    return FileResponse(_FOLDER / "docs.css")
