"""The body of an error, in the form that the clients of the request's path expect.

This is the only place that chooses the form: for errors of the routes, of the layers around them
and of streams.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

from silkline.errors import HttpFace, InternalFault, SilklineError, http_face

MESSAGES = "/v1/messages"
"""The path of the Anthropic API's face, and of what lies below it."""

_DEFECT = (
    "Internal error in Silkline. Report it to the server's operator with the x-request-id of this "
    "response; the server's log has the details under that id."
)
_DEFECT_CODE = http_face(InternalFault("")).code

_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""The error types of the Anthropic API by status; those of all others are `invalid_request_error`.

https://platform.claude.com/docs/en/api/errors. There, overload has the status 529, which proxies
and load balancers do not know; here it is 503.
"""


@dataclass(frozen=True, slots=True)
class ErrorForm:
    """How errors appear to the clients of an API.

    Attributes:
        body: Builds the body from an error, its HTTP face and the request's id.
        id_header: The header that has the request's id besides `x-request-id`; empty means none.
    """

    body: Callable[[SilklineError, HttpFace, str], dict[str, Any]]
    id_header: str = ""

    def of(self, error: SilklineError, request_id: str) -> dict[str, Any]:
        """The body of an error."""
        return self.body(error, http_face(error), request_id)


def message_of(error: SilklineError) -> str:
    """The message for the client: that of a defect does not reveal what happened."""
    return _DEFECT if http_face(error).code == _DEFECT_CODE else error.message


def _openai(error: SilklineError, face: HttpFace, request_id: str) -> dict[str, Any]:
    del request_id
    return {
        "error": {
            "message": message_of(error),
            "type": face.type,
            "param": error.param,
            "code": face.code,
        }
    }


def anthropic_type(status: int) -> str:
    """The Anthropic API's error type for an HTTP status."""
    return _ANTHROPIC_TYPES.get(status, "invalid_request_error")


def _anthropic(error: SilklineError, face: HttpFace, request_id: str) -> dict[str, Any]:
    return {
        "type": "error",
        "error": {
            "type": anthropic_type(face.status),
            "message": message_of(error),
            "details": {"error_code": face.code},
        },
        "request_id": request_id,
    }


OPENAI = ErrorForm(_openai)
"""The form of the OpenAI API, for all paths without a form of their own."""

_FORMS: Mapping[str, ErrorForm] = {MESSAGES: ErrorForm(_anthropic, "request-id")}


def error_form(scope: Scope) -> ErrorForm:
    """The form of the errors of a request."""
    path: str = scope["path"]
    for root, form in _FORMS.items():
        if path == root or path.startswith(f"{root}/"):
            return form
    return OPENAI
