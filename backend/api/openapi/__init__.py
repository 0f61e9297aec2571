"""The OpenAPI document, as far as FastAPI does not make it from the routes."""
