"""The form of error bodies, by the path of the request."""

from __future__ import annotations

from typing import Any

import pytest

from silkline.errors import (
    HTTP_FACES,
    ConfigError,
    InternalFault,
    InvalidRequest,
    SilklineError,
    http_face,
)
from silkline.gateway.error_bodies import OPENAI, error_form

KNOWN = {
    *("invalid_request_error", "authentication_error", "permission_error", "not_found_error"),
    *("conflict_error", "request_too_large", "rate_limit_error", "api_error", "timeout_error"),
    "overloaded_error",
}
"""The error types that Anthropic documents."""


def anthropic(error: SilklineError) -> dict[str, Any]:
    return error_form({"path": "/v1/messages"}).of(error, "r1")


@pytest.mark.parametrize("kind", HTTP_FACES)
def test_every_error_has_a_type_of_the_anthropic_api(kind: type[SilklineError]) -> None:
    body = anthropic(kind("What happened."))
    assert set(body) == {"type", "error", "request_id"}
    assert (body["type"], body["request_id"]) == ("error", "r1")
    assert body["error"]["type"] in KNOWN
    assert body["error"]["details"] == {"error_code": http_face(kind("")).code}


@pytest.mark.parametrize("error", [InternalFault("/etc/secret"), ConfigError("/etc/secret")])
def test_the_message_of_a_defect_is_hidden(error: SilklineError) -> None:
    for body in (anthropic(error), OPENAI.of(error, "r1")):
        assert "secret" not in str(body)
        assert "Report it" in body["error"]["message"]


@pytest.mark.parametrize(
    ("path", "is_anthropic"),
    [
        ("/v1/messages", True),
        ("/v1/messages/count_tokens", True),
        ("/v1/messages/batches/1", True),
        ("/v1/messages2", False),
        ("/v1", False),
        ("/", False),
    ],
)
def test_the_path_decides(path: str, *, is_anthropic: bool) -> None:
    body = error_form({"path": path}).of(InvalidRequest("Wrong.", param="model"), "r1")
    assert ("request_id" in body) is is_anthropic
    assert body["error"]["message"] == "Wrong."
