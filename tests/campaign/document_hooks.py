"""Lets schemathesis get past the model's name in half of its bodies: see `test_document`."""

from __future__ import annotations

from typing import Any

import schemathesis

from tests.gateway.asking import MODEL


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Names the served model in every body whose model has an even number of characters."""
    if isinstance(body, dict):
        model = body.get("model")
        if isinstance(model, str) and len(model) % 2 == 0:
            body["model"] = MODEL
    return body
