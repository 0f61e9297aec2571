"""The probes, and what they disclose."""

import re

import httpx

from backend.main import create_app
from backend.network.exposure import WARNING
from tests.documents.markdown import DOCUMENTS
from tests.processes import NO_TLS
from tests.serving import Lex, lex, serve, settings


async def test_health_is_one_word(service: Lex) -> None:
    for path in ("/health", "/livez"):
        answer = await service.client.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})


async def test_readiness_names_the_upstream_and_its_models(service: Lex) -> None:
    ready = (await service.client.get("/readyz")).json()

    assert ready["status"] == "ready"
    assert ready["upstream"] == service.standin.url
    assert ready["models"] == [
        {"name": "llama-3.3-70b-versatile", "breaker": "closed"},
        {"name": "openai/gpt-oss-120b", "breaker": "closed"},
        {"name": "openai/gpt-oss-20b", "breaker": "closed"},
    ]
    assert (ready["store"], ready["redis"]) == ("up", "none")
    assert ready["free_slots"] == 2000


async def test_a_service_that_waits_for_its_database_warns_already() -> None:
    url = "postgresql+psycopg://lex@127.0.0.1:9/lex"
    async with lex(database_url=url, allow_anonymous=True) as service:
        waiting = await service.client.get("/readyz")

    assert (waiting.status_code, waiting.json()["status"]) == (503, "waiting")
    assert waiting.json()["warnings"] == [WARNING]


async def test_without_a_warning_readiness_has_none_also_while_it_waits() -> None:
    async with lex(database_url="postgresql+psycopg://lex@127.0.0.1:9/lex") as service:
        waiting = (await service.client.get("/readyz")).json()

    assert waiting["status"] == "waiting"
    assert "warnings" not in waiting


async def test_an_unknown_path_and_a_wrong_method_are_problems(service: Lex) -> None:
    missing = await service.client.get("/nowhere")
    method = await service.client.put("/query")

    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert (method.status_code, method.json()["code"]) == (405, "method_not_allowed")
    assert method.headers["allow"] == "GET, POST"


async def test_a_request_id_that_could_forge_a_log_line_is_replaced(service: Lex) -> None:
    answer = await service.client.get("/health", headers={"X-Request-Id": "a b"})

    assert answer.headers["x-request-id"] != "a b"
    assert len(answer.headers["x-request-id"]) == 32


async def test_the_api_describes_itself_as_the_documentation_does(service: Lex) -> None:
    openapi = (await service.client.get("/openapi.json")).json()

    routes = {
        f"{method.upper()} {re.sub('{[a-z_]+}', '{id}', path)}"
        for path, operations in openapi["paths"].items()
        for method in operations
    }

    listed = set(
        re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^` ?]*)`", DOCUMENTS["docs/api.md"])
    )
    pages = {"GET /", "GET /docs", "GET /openapi.json", "GET /metrics"}
    assert routes | pages == listed
    answer = openapi["paths"]["/query"]["post"]["responses"]
    assert "text/event-stream" in answer["200"]["content"]
    assert "application/problem+json" in answer["409"]["content"]


async def test_without_api_docs_there_is_no_description() -> None:
    async with lex(api_docs=False) as service:
        assert (await service.client.get("/openapi.json")).status_code == 404


async def test_a_defect_of_ours_is_a_problem_with_all_headers() -> None:
    app = create_app(settings(groq_base_url="http://127.0.0.1:9"))

    @app.get("/defect")
    async def defect() -> None:
        raise ZeroDivisionError

    async with serve(app) as url, httpx.AsyncClient(verify=NO_TLS) as client:
        answer = await client.get(f"{url}/defect", headers={"Origin": "http://localhost:3000"})

    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"]
    assert answer.headers["access-control-allow-origin"] == "http://localhost:3000"


async def test_on_open_is_called_once_when_everything_is_open() -> None:
    told: list[str] = []
    given = settings(groq_base_url="http://127.0.0.1:9")
    app = create_app(given, on_open=lambda: told.append("open"))

    @app.get("/told")
    async def so_far() -> list[str]:
        return told

    assert told == []
    async with serve(app) as url, httpx.AsyncClient(verify=NO_TLS) as client:
        answers = [(await client.get(f"{url}/told")).json() for _ in range(2)]

    assert answers == [["open"], ["open"]]
