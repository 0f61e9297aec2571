"""Bounds that settings draw, told in the description of the API."""

from typing import Any, cast

from fastapi import FastAPI

TEXTS = {"QueryBody": "query", "MessageBody": "content"}
"""The fields in which a customer speaks."""


def describe_bounds(app: FastAPI, *, max_query_chars: int) -> None:
    describe = app.openapi

    def describe_all() -> dict[str, Any]:
        described = describe()
        for body, field in TEXTS.items():
            schema = described["components"]["schemas"][body]["properties"][field]
            schema["maxLength"] = max_query_chars
        return described

    cast(Any, app).openapi = describe_all
