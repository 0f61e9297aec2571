"""`GET /metrics` for Prometheus."""

from fastapi import APIRouter, Request, Response

from backend.telemetry.exposition import exposition

router = APIRouter()

PATH = "/metrics"


@router.head(PATH, include_in_schema=False)
@router.get(PATH, include_in_schema=False)
def show(request: Request) -> Response:
    # Not a coroutine, so that FastAPI runs it in a thread: it takes too long for the event loop.
    body, media_type = exposition(request.headers.get("accept", ""))
    return Response(body, media_type=media_type)
