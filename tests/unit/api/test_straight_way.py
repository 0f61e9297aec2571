"""Routes with a plan answer every request as FastAPI does without plans."""

from collections.abc import AsyncIterator
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Query, Request, Response, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.api import problem_details
from backend.api.route_plans import plans
from backend.api.schemas import SessionId
from backend.api.straight_way import StraightWay
from backend.api.strict_json import StrictRoute
from backend.domain.errors import NotAuthenticated, SessionBusy
from backend.main import create_app
from backend.telemetry.server_span import route_of
from tests.serving import settings

Calls = list[str]


class Order(BaseModel):
    dish: str
    count: int = 1


async def _guest(connection: HTTPConnection) -> str:
    connection.scope["state"]["calls"].append("guest")
    guest = connection.headers.get("x-guest", "somebody")
    if guest == "nobody":
        raise NotAuthenticated
    return guest


GuestDep = Annotated[str, Depends(_guest)]


async def _table(
    guest: GuestDep, number: Annotated[str | None, Header(pattern="^[0-9]+$")] = None
) -> str:
    return f"{guest} at {number}"


TableDep = Annotated[str, Depends(_table)]


async def _kitchen() -> AsyncIterator[str]:
    yield "kitchen"


def _bell() -> str:
    return "bell"


router = APIRouter(
    prefix="/orders",
    route_class=StrictRoute,
    dependencies=[Security(HTTPBearer(auto_error=False))],
)


@router.post("", response_model=None)
async def order(body: Order, table: TableDep, guest: GuestDep, request: Request) -> Response:
    if body.dish == "soup":
        raise SessionBusy
    if body.dish == "soap":
        raise HTTPException(418, "No soap", headers={"X-Tea": "yes"})
    size = len(await request.body())
    return Response(f"{body.count} {body.dish} for {table}, {guest}, {size} bytes", 201)


@router.post("/{session_id}", response_model=None)
async def change(session_id: SessionId, body: Order, guest: GuestDep) -> Response:
    return Response(f"{session_id}: {body.dish} for {guest}")


@router.post("/other/query", response_model=None)
async def with_query(body: Order, fast: Annotated[bool, Query()] = False) -> Response:
    return Response(f"{body.dish} {fast}")


@router.post("/other/clean-up", response_model=None)
async def with_clean_up(body: Order, kitchen: Annotated[str, Depends(_kitchen)]) -> Response:
    return Response(f"{body.dish} {kitchen}")


@router.post("/other/thread", response_model=None)
async def with_thread(body: Order, bell: Annotated[str, Depends(_bell)]) -> Response:
    return Response(f"{body.dish} {bell}")


@router.post("/other/headers", response_model=None)
async def with_headers(body: Order, response: Response) -> Response:
    return Response(f"{body.dish} {response.headers}")


@router.post("/other/number", response_model=None)
async def with_number(body: Order, number: Annotated[int, Header()]) -> Response:
    return Response(f"{body.dish} {number + 1}")


@router.post("/other/model")
async def with_model(body: Order) -> Order:
    return body


PLANNED = {"/orders", "/orders/{session_id}"}


def _app() -> FastAPI:
    app = FastAPI()
    app.include_router(router)
    return app


class World:
    """The same routes with plans and without; `calls` are those of the dependency `_guest`."""

    def __init__(self, *, is_straight: bool) -> None:
        app = _app()
        problem_details.install(app, forms={})
        if is_straight:
            app.add_middleware(StraightWay, routes=app.router.routes)
        self.app: ASGIApp = app
        self.calls: Calls = []

    async def answer(self, path: str, body: bytes, headers: dict[str, str]) -> httpx.Response:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope["state"] = {"calls": self.calls}
            await self.app(scope, receive, send)

        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://lex") as client:
            return await client.post(path, content=body, headers=headers)


JSON = {"content-type": "application/json"}
FINE = b'{"dish": "pizza"}'

REQUESTS = {
    "valid": ("/orders", FINE, JSON),
    "a charset": ("/orders", FINE, {"content-type": "Application/JSON; charset=utf-8"}),
    "all headers": ("/orders", FINE, JSON | {"number": "7", "x-guest": "Ada"}),
    "a path": ("/orders/a1", FINE, JSON),
    "an encoded path": ("/orders/a%31", FINE, JSON),
    "another JSON": ("/orders", FINE, {"content-type": "application/vnd.order+json"}),
    "no content type": ("/orders", FINE, {}),
    "text": ("/orders", FINE, {"content-type": "text/plain"}),
    "a form": ("/orders", b"dish=pizza", {"content-type": "application/x-www-form-urlencoded"}),
    "an odd content type": ("/orders", FINE, {"content-type": "application/json/x"}),
    "no body": ("/orders", b"", JSON),
    "broken JSON": ("/orders", b'{"dish": ', JSON),
    "deep JSON": ("/orders", b"[" * 100_000, JSON),
    "not UTF-8": ("/orders", b'{"dish": "\xff"}', JSON),
    "a name twice": ("/orders", b'{"dish": "a", "dish": "b"}', JSON),
    "NaN": ("/orders", b'{"dish": "a", "count": NaN}', JSON),
    "no object": ("/orders", b"[]", JSON),
    "null": ("/orders", b"null", JSON),
    "a field missing": ("/orders", b"{}", JSON),
    "a field missing beside a header": ("/orders", b"{}", JSON | {"number": "7"}),
    "two faults": ("/orders", b"{}", JSON | {"number": "x"}),
    "a refused caller": ("/orders", FINE, JSON | {"x-guest": "nobody"}),
    "a refused caller with a fault": ("/orders", b"{}", JSON | {"x-guest": "nobody"}),
    "a bad header": ("/orders", FINE, JSON | {"number": "x"}),
    "an empty header": ("/orders", FINE, JSON | {"number": ""}),
    "a bad path": ("/orders/-", FINE, JSON),
    "a bad path and a refused caller": ("/orders/-", FINE, JSON | {"x-guest": "nobody"}),
    "a refusal": ("/orders", b'{"dish": "soup"}', JSON),
    "a status": ("/orders", b'{"dish": "soap"}', JSON),
    "a slash more": ("/orders/", FINE, JSON),
    "a query parameter": ("/orders/other/query?fast=1", FINE, JSON),
    "a clean-up": ("/orders/other/clean-up", FINE, JSON),
    "a thread": ("/orders/other/thread", FINE, JSON),
    "headers of the answer": ("/orders/other/headers", FINE, JSON),
    "a number": ("/orders/other/number", FINE, JSON | {"number": "41"}),
    "a model": ("/orders/other/model", FINE, JSON),
}


@pytest.mark.parametrize("name", REQUESTS)
async def test_a_plan_changes_no_answer(name: str) -> None:
    path, body, headers = REQUESTS[name]
    straight, plain = World(is_straight=True), World(is_straight=False)

    found = await straight.answer(path, body, headers)

    expected = await plain.answer(path, body, headers)
    assert (found.status_code, found.text) == (expected.status_code, expected.text)
    assert found.headers.multi_items() == expected.headers.multi_items()
    # A dependency with an effect has it once, even if FastAPI must answer in the end.
    assert straight.calls == plain.calls


def test_only_routes_of_a_known_shape_have_plans() -> None:
    assert _paths(_app()) == PLANNED


async def test_a_valid_request_passes_by_fastapi() -> None:
    world = World(is_straight=True)
    world.app = StraightWay(_never, routes=_app().router.routes)

    found = await world.answer("/orders", FINE, JSON)

    assert (found.status_code, world.calls) == (201, ["guest"])


async def _never(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI's signature
    raise AssertionError(scope["path"])


async def test_a_client_that_leaves_within_its_body_asks_nothing() -> None:
    world = World(is_straight=True)
    messages: list[Message] = [
        {"type": "http.request", "body": FINE, "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent: list[Message] = []

    async def receive() -> Message:
        return messages.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/orders",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "state": {"calls": world.calls},
    }
    await world.app(scope, receive, send)

    assert (sent[0]["status"], world.calls) == (422, [])


def test_every_post_that_streams_has_a_plan() -> None:
    app = create_app(settings())
    posts = {
        path: methods["post"]["responses"]
        for path, methods in app.openapi()["paths"].items()
        if "post" in methods
    }
    streaming = {
        path
        for path, responses in posts.items()
        if "text/event-stream" in responses.get("200", {}).get("content", {})
    }

    assert _paths(app) == streaming


def _paths(app: FastAPI) -> set[str | None]:
    return {route_of({"route": plan.route}) for plan in plans(app.router.routes)}
