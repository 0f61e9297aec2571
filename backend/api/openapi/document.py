"""The OpenAPI document, with what FastAPI cannot know: it sees the schemas of routes alone."""

from typing import Any, cast

from fastapi import FastAPI

from backend.api.schemas import Problem

TEXTS = {"QueryBody": "query", "MessageBody": "content"}
"""The fields in which a customer speaks."""


def complete_openapi(app: FastAPI, *, max_query_chars: int) -> None:
    """Add the schema of problems, and the limits that settings draw."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        document = make()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update({**problem.pop("$defs"), "Problem": problem})
        for body, field in TEXTS.items():
            schemas[body]["properties"][field]["maxLength"] = max_query_chars
        return document

    cast(Any, app).openapi = openapi
