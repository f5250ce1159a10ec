"""The OpenAPI document: schemas of the request bodies, and the errors from `HTTP_FACES`."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
from fastapi import FastAPI

from silkline.errors import HTTP_FACES
from silkline.gateway.idempotency.fingerprint import HEADER

_REF = "#/components/schemas/{name}"
_ERROR = "Error"
_ANTHROPIC_ERROR = "AnthropicError"
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

_ANTHROPIC_ERROR_BODY = {
    "type": "object",
    "required": ["type", "error", "request_id"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message", "details"],
            "properties": {
                "type": {"type": "string"},
                "message": {"type": "string"},
                "details": {
                    "type": "object",
                    "required": ["error_code"],
                    "properties": {"error_code": {"type": "string"}},
                },
            },
        },
        "request_id": {"type": "string"},
    },
}

_IDEMPOTENCY_KEY = {
    "name": HEADER,
    "in": "header",
    "description": "Executes the request once; a retry with the same key gets the same answer.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[ -~]+$"},
}


def _error_responses(schema: str) -> dict[int | str, dict[str, Any]]:
    codes: defaultdict[int, list[str]] = defaultdict(list)
    for face in HTTP_FACES.values():
        codes[face.status].append(face.code)
    body = {"application/json": {"schema": {"$ref": _REF.format(name=schema)}}}
    return {
        status: {"description": ", ".join(names), "content": body}
        for status, names in sorted(codes.items())
    }


ERROR_RESPONSES = _error_responses(_ERROR)
"""The error `responses` of an answering route."""

ANTHROPIC_ERRORS = _error_responses(_ANTHROPIC_ERROR)
"""Those of a route of the Anthropic API."""


def json_body(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The `openapi_extra` of an answering route with a JSON body of type `kind`."""
    return {"parameters": [_IDEMPOTENCY_KEY], **body_schema(kind)}


def body_schema(kind: type[msgspec.Struct]) -> dict[str, Any]:
    """The `openapi_extra` of another route with a JSON body of type `kind`."""
    content = {"application/json": {"schema": {"$ref": _REF.format(name=kind.__name__)}}}
    return {"requestBody": {"required": True, "content": content}}


def describe(app: FastAPI, *bodies: type[msgspec.Struct]) -> None:
    """Adds the schemas of the request bodies and the error body to an app's OpenAPI document."""
    generate = app.openapi
    _, components = msgspec.json.schema_components(bodies, ref_template=_REF)

    def openapi() -> dict[str, Any]:
        document = generate()
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(components)
        schemas |= {_ERROR: _ERROR_BODY, _ANTHROPIC_ERROR: _ANTHROPIC_ERROR_BODY}
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way
