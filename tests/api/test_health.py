"""What probes and strangers see."""

from tests.serving import Lex


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
    ]
    assert ready["store"] == "up"
    assert ready["free_slots"] == 2000


async def test_a_strange_path_and_a_strange_method_are_problems(service: Lex) -> None:
    missing = await service.client.get("/nowhere")
    method = await service.client.put("/query")

    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")
    assert (method.status_code, method.json()["code"]) == (405, "method_not_allowed")
    assert method.headers["allow"] == "POST"


async def test_a_request_id_that_could_forge_a_log_line_is_replaced(service: Lex) -> None:
    answer = await service.client.get("/health", headers={"X-Request-Id": "a b"})

    assert answer.headers["x-request-id"] != "a b"
    assert len(answer.headers["x-request-id"]) == 32
