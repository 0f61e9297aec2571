"""Checks the private parts of libraries that Lex uses.

`pyproject.toml` bounds the versions of these libraries. Raise a bound when these tests and the
live tests pass with the new release.
"""

import ast
import inspect
import re
import textwrap
from pathlib import Path

import pytest
import uvicorn
from groq import AsyncGroq
from gunicorn.arbiter import Arbiter
from gunicorn.glogging import Logger
from gunicorn.workers import base
from uvicorn import _types
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.flow_control import CLOSE_HEADER, FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

ROOT = Path(__file__).parent.parent.parent

METHODS: list[tuple[type, str, str]] = [
    # Overridden or called by `server/protocols.py`
    (HttpToolsProtocol, "connection_made", "self, transport"),
    (HttpToolsProtocol, "connection_lost", "self, exc"),
    (HttpToolsProtocol, "data_received", "self, data"),
    (HttpToolsProtocol, "on_message_begin", "self"),
    (HttpToolsProtocol, "on_url", "self, url"),
    (HttpToolsProtocol, "on_header", "self, name, value"),
    (HttpToolsProtocol, "on_headers_complete", "self"),
    (HttpToolsProtocol, "on_body", "self, body"),
    (HttpToolsProtocol, "on_message_complete", "self"),
    (HttpToolsProtocol, "on_response_complete", "self"),
    (HttpToolsProtocol, "shutdown", "self"),
    (HttpToolsProtocol, "handle_websocket_upgrade", "self"),
    (HttpToolsProtocol, "send_400_response", "self, msg"),
    (HttpToolsProtocol, "timeout_keep_alive_handler", "self"),
    (HttpToolsProtocol, "_should_upgrade", "self"),
    (HttpToolsProtocol, "_start_asgi_task", "self, cycle, app"),
    (RequestResponseCycle, "send", "self, message"),
    (FlowControl, "resume_reading", "self"),
    (WebSocketsSansIOProtocol, "data_received", "self, data"),
    (WebSocketsSansIOProtocol, "run_asgi", "self"),
    (WebSocketsSansIOProtocol, "handle_cont", "self, event"),
    (WebSocketsSansIOProtocol, "handle_ping", "self"),
    (WebSocketsSansIOProtocol, "handle_parser_exception", "self"),
    (WebSocketsSansIOProtocol, "send_receive_event_to_app", "self"),
    # `server/server.py`
    (uvicorn.Server, "serve", "self, sockets"),
    (uvicorn.Server, "startup", "self, sockets"),
    (uvicorn.Server, "shutdown", "self, sockets"),
    (uvicorn.Server, "on_tick", "self, counter"),
    # `server/gunicorn.py`
    (base.Worker, "init_signals", "self"),
    (base.Worker, "handle_usr1", "self, sig, frame"),
    (base.Worker, "notify", "self"),
    (base.Worker, "run", "self"),
    (Arbiter, "signal", "self, sig, frame"),
    (Logger, "setup", "self, cfg"),
    # `llm/groq/client.py`
    (AsyncGroq, "_make_status_error_from_response", "self, response"),
]

ATTRIBUTES: list[tuple[type, str]] = [
    (
        HttpToolsProtocol,
        "app_state connections cycle expect_100_continue flow headers loop parser pipeline scope "
        "timeout_keep_alive timeout_keep_alive_task transport url",
    ),
    (
        RequestResponseCycle,
        "chunked_encoding disconnected expected_content_length keep_alive message_event "
        "response_complete response_started scope",
    ),
    (
        WebSocketsSansIOProtocol,
        "app app_state close_sent conn curr_msg_data_type disconnected frames handshake_complete "
        "handshake_initiated scope transport writable",
    ),
    # sse-starlette replaces `handle_exit` on import by one with other parameters.
    (uvicorn.Server, "config handle_exit lifespan server_state servers should_exit"),
    (ServerState, "connections default_headers"),
    (uvicorn.Config, "encoded_headers"),
    (base.Worker, "SIGNALS age cfg ppid sockets wsgi"),
    (Arbiter, "WORKERS pid worker_age"),
    (Logger, "error_log"),
]


@pytest.mark.parametrize(("owner", "name", "parameters"), METHODS)
def test_a_method_that_we_override_or_call_is_there(
    owner: type, name: str, parameters: str
) -> None:
    assert ", ".join(inspect.signature(getattr(owner, name)).parameters) == parameters


@pytest.mark.parametrize(("owner", "names"), ATTRIBUTES)
def test_an_attribute_that_we_read_or_set_is_one_of_the_class(owner: type, names: str) -> None:
    assert set(names.split()) - attributes(owner) == set()


def attributes(owner: type) -> set[str]:
    """The attributes of a class, and those that its methods set on any object."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(owner)))
    stores = [each for each in ast.walk(tree) if isinstance(each, ast.Attribute)]
    return {*dir(owner), *(each.attr for each in stores if isinstance(each.ctx, ast.Store))}


def test_what_else_we_import_of_uvicorn_is_what_it_was() -> None:
    assert STARTUP_FAILURE == 3
    assert CLOSE_HEADER == (b"connection", b"close")
    for name in ("ASGI3Application", "ASGIReceiveCallable", "ASGISendCallable", "Scope"):
        assert hasattr(_types, name)


@pytest.mark.parametrize("library", ["groq", "gunicorn", "uvicorn"])
def test_a_library_whose_internals_we_use_has_an_upper_bound(library: str) -> None:
    dependencies = (ROOT / "pyproject.toml").read_text()

    assert re.search(rf'^    "{library}(\[\w+\])?>=[\d.]+,<[\d.]+"', dependencies, re.MULTILINE)
