"""`GET /metrics` for Prometheus."""

import gzip

from fastapi import APIRouter, Request, Response

from backend.telemetry.exposition import accepts_gzip, exposition

router = APIRouter()

PATH = "/metrics"


@router.head(PATH, include_in_schema=False)
@router.get(PATH, include_in_schema=False)
def show(request: Request) -> Response:
    # Not a coroutine, so that FastAPI runs it in a thread: it takes too long for the event loop.
    body, media_type = exposition(request.headers.get("accept", ""))
    headers = {"Vary": "Accept, Accept-Encoding"}
    if accepts_gzip(request.headers.get("accept-encoding", "")):
        # Level 1 halves the time of the default level, for a body of 7 % instead of 6 %.
        body = gzip.compress(body, compresslevel=1, mtime=0)
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type=media_type, headers=headers)
