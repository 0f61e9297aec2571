"""Complete the OpenAPI document: FastAPI only knows the schemas that routes declare."""

from typing import Any, cast

from fastapi import FastAPI

from backend.api.schemas import Problem

TEXTS = {"QueryBody": "query", "MessageBody": "content"}
"""The field of each body that contains the customer's question."""


def complete_openapi(app: FastAPI, *, max_query_chars: int) -> None:
    """Add the schema of problem details, and the limits that come from settings."""
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
