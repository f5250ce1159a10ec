"""Turns any exception into an HTTP status, headers and an error body."""

from __future__ import annotations

import logging

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Scope

from silkline.errors import (
    CapacityError,
    InternalFault,
    InvalidRequest,
    MethodNotAllowed,
    RouteNotFound,
    SilklineError,
    UnsupportedEncoding,
    http_face,
)
from silkline.gateway.content_encoding import ACCEPTED_ENCODINGS
from silkline.gateway.disconnect import CLIENT_LEFT, CLIENT_LEFT_STATUS, ClientLeft
from silkline.gateway.error_bodies import error_form
from silkline.gateway.request_record import record_of
from silkline.service.record import RequestRecord

logger = logging.getLogger("silkline.gateway")

_DEFECT_FACE = http_face(InternalFault(""))
_HTTP_NOT_FOUND = 404
_HTTP_METHOD_NOT_ALLOWED = 405


def to_silkline_error(error: Exception) -> SilklineError:
    """Maps any exception to a `SilklineError`; an unknown one becomes `InternalFault`."""
    if isinstance(error, SilklineError):
        return error
    if isinstance(error, HTTPException):
        return _from_http(error)
    return InternalFault("The request ended with an unexpected exception.")


def error_response(error: SilklineError, scope: Scope) -> Response:
    """Builds the complete response for an error; nothing may have been sent before.

    Args:
        error: The error.
        scope: The request's scope; its path decides the form of the body.
    """
    form, request_id = error_form(scope), record_of(HTTPConnection(scope)).id
    headers = {form.id_header: request_id} if form.id_header else {}
    if isinstance(error, CapacityError) and error.retry_after is not None:
        headers["retry-after"] = str(error.retry_after)
    if isinstance(error, UnsupportedEncoding):
        # https://www.rfc-editor.org/rfc/rfc9110#section-15.5.16
        headers["accept-encoding"] = ACCEPTED_ENCODINGS
    return Response(
        msgspec.json.encode(form.of(error, request_id)),
        status_code=http_face(error).status,
        headers=headers,
        media_type="application/json",
    )


def reported(exception: Exception, record: RequestRecord) -> SilklineError:
    """Records the error that ends a request and returns it; logs a defect with its traceback."""
    error = to_silkline_error(exception)
    record.error = http_face(error).code
    record.reason = error.message
    if http_face(error) == _DEFECT_FACE:
        fields = {"http.request.id": record.id}
        logger.error("defect while answering", exc_info=exception, extra={"ecs": fields})
    return error


async def render_error(request: Request, exception: Exception) -> Response:
    """Handles every kind of exception that a route can raise."""
    record = record_of(request)
    if isinstance(exception, ClientLeft | ClientDisconnect):
        record.error = CLIENT_LEFT
        return Response(status_code=CLIENT_LEFT_STATUS)
    response = error_response(reported(exception, record), request.scope)
    if isinstance(exception, HTTPException) and (allowed := (exception.headers or {}).get("Allow")):
        # https://www.rfc-editor.org/rfc/rfc9110#section-15.5.6
        response.headers["allow"] = allowed
    return response


def _from_http(error: HTTPException) -> SilklineError:
    if error.status_code == _HTTP_NOT_FOUND:
        return RouteNotFound("No route matches this path. /openapi.json lists the routes.")
    if error.status_code == _HTTP_METHOD_NOT_ALLOWED:
        return MethodNotAllowed(
            "This path does not support this HTTP method. The Allow header lists those it does."
        )
    return InvalidRequest(
        "The body could not be read. Send a complete body that matches its Content-Type."
    )
