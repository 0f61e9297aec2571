"""`GET /metrics`: what was counted."""

from fastapi import APIRouter, Request, Response

from backend.telemetry.exposition import exposition

router = APIRouter()

PATH = "/metrics"


@router.head(PATH, include_in_schema=False)
@router.get(PATH, include_in_schema=False)
def show(request: Request) -> Response:
    """No coroutine, so it runs in a thread: it takes too long for the event loop."""
    body, media_type = exposition(request.headers.get("accept", ""))
    return Response(body, media_type=media_type)
