"""The OpenAPI document: the declared types of the bodies, and the errors of the one table."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
from fastapi import FastAPI

from silkline.errors import HTTP_FACES
from silkline.gateway.idempotency.fingerprint import HEADER

_REF = "#/components/schemas/{name}"
_ERROR_BODY = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}

_IDEMPOTENCY_KEY = {
    "name": HEADER,
    "in": "header",
    "description": "The request is executed once; sent again, it gets the same answer.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}


def _error_responses() -> dict[int | str, dict[str, Any]]:
    codes: defaultdict[int, list[str]] = defaultdict(list)
    for face in HTTP_FACES.values():
        codes[face.status].append(face.code)
    body = {"application/json": {"schema": {"$ref": _REF.format(name="Error")}}}
    return {
        status: {"description": ", ".join(names), "content": body}
        for status, names in sorted(codes.items())
    }


ERROR_RESPONSES = _error_responses()
"""The `responses` of a route that answers questions."""


def json_body(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The `openapi_extra` of a route that answers questions, whose body is JSON of a type."""
    schema = {"$ref": _REF.format(name=kind.__name__)}
    return {
        "parameters": [_IDEMPOTENCY_KEY],
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
    }


def describe(app: FastAPI, *bodies: type[msgspec.Struct]) -> None:
    """Adds the schemas of the bodies, and of the error body, to an application's document."""
    generate = app.openapi
    _, components = msgspec.json.schema_components(bodies, ref_template=_REF)

    def document() -> dict[str, Any]:
        made = generate()
        schemas = made.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(components)
        schemas["Error"] = _ERROR_BODY
        return made

    app.openapi = document  # type: ignore[method-assign]  # FastAPI's documented way
