"""The description of the control API: an OpenAPI document, and a page that shows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from fake_providers.control.bodies import Refusal
from fake_providers.control.routes import (
    JSON,
    NAME_PATTERN,
    Parsed,
    Route,
    json_answer,
)
from fake_providers.http.answers import WholeAnswer, whole_answer

TITLE: Final = "fake_providers control"
REF: Final = "#/components/schemas/{name}"
UNAUTHORIZED: Final = "The token is missing or wrong."
EVERY_ERROR: Final = (
    (403, "The Host or Origin header is that of a page of another origin."),
    (413, "The body is too large."),
    (422, "The request is invalid."),
)
PAGE: Final = f"""<!DOCTYPE html>
<html>
<head>
<title>{TITLE}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({{url: "/openapi.json", dom_id: "#swagger-ui"}})</script>
</body>
</html>
"""


def document_routes(routes: Sequence[Route], *, needs_token: bool) -> list[Route]:
    """``/openapi.json`` and ``/docs``, which describe ``routes`` and not themselves."""

    def document(_: Parsed) -> WholeAnswer:
        return json_answer(openapi(routes, needs_token=needs_token))

    def page(_: Parsed) -> WholeAnswer:
        return whole_answer(200, b"text/html; charset=utf-8", PAGE.encode())

    return [
        Route(
            method="GET",
            path="/openapi.json",
            summary="This document",
            handle=document,
            open_to_all=True,
        ),
        Route(
            method="GET",
            path="/docs",
            summary="A page that shows it",
            handle=page,
            open_to_all=True,
        ),
    ]


def openapi(routes: Sequence[Route], *, needs_token: bool) -> dict[str, Any]:
    """The OpenAPI document."""
    types = [route.body for route in routes if route.body] + [Refusal]
    schemas, components = msgspec.json.schema_components(types, ref_template=REF)
    refusal = schemas[-1]
    of_bodies = iter(schemas)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        body = next(of_bodies) if route.body else None
        operation = _operation(route, body, refusal)
        if needs_token and not route.open_to_all:
            operation["security"] = [{"token": []}]
            operation["responses"]["401"] = _response(UNAUTHORIZED, "application/json", refusal)
        paths.setdefault(route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": "1"},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route, body: Any, refusal: Any) -> dict[str, Any]:
    name = "".join(letter if letter.isalnum() else "_" for letter in route.path.strip("/"))
    errors = (*route.errors, *EVERY_ERROR)
    text = route.content_type.partition(b";")[0].decode()
    answer: dict[str, Any] = {} if route.content_type == JSON else {"type": "string"}
    described: dict[str, Any] = {
        "operationId": f"{route.method.lower()}_{name}",
        "summary": route.summary,
        "responses": {
            "200": _response("The answer.", text, answer),
            **{str(status): _response(why, "application/json", refusal) for status, why in errors},
        },
    }
    parameters = [_parameter(flag, "query", {"type": "boolean"}) for flag in route.flags]
    if "{name}" in route.path:
        pattern = {"type": "string", "pattern": NAME_PATTERN}
        parameters.append(_parameter("name", "path", pattern))
    if parameters:
        described["parameters"] = parameters
    if body is not None:
        described["requestBody"] = {
            "required": route.body_required,
            "content": {"application/json": {"schema": body}},
        }
    return described


def _parameter(name: str, place: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": place, "required": place == "path", "schema": schema}


def _response(description: str, content_type: str, schema: Any) -> dict[str, Any]:
    return {"description": description, "content": {content_type: {"schema": schema}}}
