"""`GET /metrics` for Prometheus."""

from fastapi import APIRouter, Request, Response

from backend.telemetry.exposition import exposition

router = APIRouter()

PATH = "/metrics"


@router.head(PATH, include_in_schema=False)
@router.get(PATH, include_in_schema=False)
def show(request: Request) -> Response:
    # Not a coroutine, so that FastAPI runs it in a thread: it takes too long for the event loop.
    accept = request.headers.get("accept", "")
    accept_encoding = request.headers.get("accept-encoding", "")
    body, headers = exposition(accept, accept_encoding)
    return Response(body, headers=headers)
