"""`GET /docs`: the API documentation, a small page of our own that loads from this host only.

FastAPI's documentation page loads two megabytes of script from a CDN, and cannot show a stream.
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
