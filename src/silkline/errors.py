"""The error tree, and the tables that map errors to HTTP responses and exit codes.

    SilklineError
    ├── InputError                 the request is invalid; a retry fails the same way
    │   ├── InvalidRequest         400 invalid_request
    │   ├── UrlBlocked             400 url_blocked
    │   ├── ImageFetchFailed       400 image_fetch_failed
    │   ├── ImageUndecodable       400 image_undecodable
    │   ├── ImageFormat            415 image_format
    │   ├── UnsupportedEncoding    415 unsupported_encoding
    │   ├── ImageTooLarge          413 image_too_large
    │   ├── RequestTooLarge        413 request_too_large
    │   ├── HeadersTooLarge        431 headers_too_large
    │   ├── ModelNotFound          404 model_not_found
    │   ├── ResponseNotFound       404 response_not_found
    │   ├── RequestNotFound        404 request_not_found
    │   ├── StoredFileNotFound     404 file_not_found
    │   ├── BatchNotFound          404 batch_not_found
    │   ├── RouteNotFound          404 not_found
    │   ├── MethodNotAllowed       405 method_not_allowed
    │   ├── RequestTimeout         408 request_timeout
    │   ├── Unauthorized           401 invalid_api_key
    │   ├── Forbidden              403 forbidden
    │   ├── ModelConflict          409 model_conflict
    │   ├── ModelNotStarted        422 model_not_started
    │   ├── IdempotencyKeyReused   422 idempotency_key_reused
    │   └── Quarantined            422 quarantined
    ├── CapacityError              the request is valid, but cannot be served now
    │   ├── DuplicateInProgress    409 duplicate_in_progress
    │   ├── RateLimited            429 rate_limited
    │   ├── Overloaded             503 overloaded
    │   ├── StorageFull            507 insufficient_storage
    │   ├── ShuttingDown           503 shutting_down
    │   ├── WorkerLost             503 worker_lost
    │   ├── EngineFailed           503 engine_failed
    │   └── DeadlineExceeded       504 deadline_exceeded
    ├── ConfigError                a setting is invalid
    ├── EnvironmentFault           this machine lacks something; the message says how to fix it
    └── InternalFault              500 internal_error: always a bug

Messages of `InputError` and `CapacityError` reach the client: they never contain the text of
another exception, a path or an address.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

_FIRST_SERVER_STATUS = 500

UNDECODABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What msgspec raises for an invalid document; `RecursionError` if it is nested too deeply."""


class SilklineError(Exception):
    """Base class of all errors that Silkline raises.

    Attributes:
        message: What happened, what was expected and what to do.
        param: The field of the request that caused the error, as the client named it.
    """

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InputError(SilklineError):
    """The request is invalid; sending it again unchanged fails the same way."""


class InvalidRequest(InputError):
    """The request does not match the documented schema, or a value is out of range."""


class UrlBlocked(InputError):
    """The URL points to an address that the gateway must not fetch from."""


class ImageFetchFailed(InputError):
    """The image could not be fetched from its URL."""


class ImageUndecodable(InputError):
    """The image is in a supported format, but is damaged or incomplete."""


class ImageFormat(InputError):
    """The bytes are not an image in a supported format."""


class UnsupportedEncoding(InputError):
    """The body's Content-Encoding is not supported; Accept-Encoding lists those that are."""


class ImageTooLarge(InputError):
    """An image has too many bytes or pixels."""


class RequestTooLarge(InputError):
    """The body is too large, or has too many images or messages."""


class HeadersTooLarge(InputError):
    """The request's headers are too large or too many."""


class ModelNotFound(InputError):
    """The request names a model that is not served here."""


class ResponseNotFound(InputError):
    """The response or item is not stored for this tenant."""


class RequestNotFound(InputError):
    """The request is not in the request history, or its content is not kept."""


class StoredFileNotFound(InputError):
    """The file is not stored for this tenant."""


class BatchNotFound(InputError):
    """This tenant has no such batch."""


class RouteNotFound(InputError):
    """The path does not exist."""


class MethodNotAllowed(InputError):
    """The path exists, but does not support this HTTP method."""


class RequestTimeout(InputError):
    """The client took too long to send its request."""


class Unauthorized(InputError):
    """The API key is missing or unknown."""


class Forbidden(InputError):
    """The API key is valid, but does not allow this."""


class ModelConflict(InputError):
    """A change of the models contradicts those that are served, or does not fit beside them."""


class ModelNotStarted(InputError):
    """A model that the admin API was to serve could not be started; the old one stays."""


class IdempotencyKeyReused(InputError):
    """The idempotency key was already used for a different request."""


class Quarantined(InputError):
    """The request killed two workers, so it is refused for a while."""


class CapacityError(SilklineError):
    """Silkline cannot serve the request now, but may be able to later.

    Attributes:
        retry_after: Whole seconds to wait before a retry, at least 1; None if a retry is no more
            likely to succeed.
    """

    def __init__(
        self, message: str, *, param: str | None = None, retry_after: int | None = 1
    ) -> None:
        super().__init__(message, param=param)
        self.retry_after = retry_after


class DuplicateInProgress(CapacityError):
    """A request with the same idempotency key is still being answered."""


class RateLimited(CapacityError):
    """The tenant exceeded its own limit; other tenants are still served."""


class Overloaded(CapacityError):
    """There are more requests than can be answered in time."""


class StorageFull(CapacityError):
    """The disk has no room for what the client sends."""


class ShuttingDown(CapacityError):
    """The server is draining and accepts no new requests."""


class WorkerLost(CapacityError):
    """The worker process ended while it computed the answer."""


class EngineFailed(CapacityError):
    """The engine failed on this request; other requests continue."""


class DeadlineExceeded(CapacityError):
    """The request's deadline passed before its answer was complete."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message, param=param, retry_after=None)


class ConfigError(SilklineError):
    """A setting is unknown or out of range."""


class EnvironmentFault(SilklineError):
    """This machine lacks something that the command needs.

    Attributes:
        remedy: The command that fixes it, or None if there is none.
    """

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message if remedy is None else f"{message} Run: {remedy}")
        self.remedy = remedy


class InternalFault(SilklineError):
    """A bug in Silkline."""


@dataclass(frozen=True, slots=True)
class HttpFace:
    """How an error appears over HTTP: status, OpenAI error type and code."""

    status: int
    type: str
    code: str


_INVALID = "invalid_request_error"
_UNAVAILABLE = "service_unavailable_error"

HTTP_FACES: dict[type[SilklineError], HttpFace] = {
    InvalidRequest: HttpFace(400, _INVALID, "invalid_request"),
    UrlBlocked: HttpFace(400, _INVALID, "url_blocked"),
    ImageFetchFailed: HttpFace(400, _INVALID, "image_fetch_failed"),
    ImageUndecodable: HttpFace(400, _INVALID, "image_undecodable"),
    ImageFormat: HttpFace(415, _INVALID, "image_format"),
    UnsupportedEncoding: HttpFace(415, _INVALID, "unsupported_encoding"),
    ImageTooLarge: HttpFace(413, _INVALID, "image_too_large"),
    RequestTooLarge: HttpFace(413, _INVALID, "request_too_large"),
    HeadersTooLarge: HttpFace(431, _INVALID, "headers_too_large"),
    ModelNotFound: HttpFace(404, _INVALID, "model_not_found"),
    ResponseNotFound: HttpFace(404, _INVALID, "response_not_found"),
    RequestNotFound: HttpFace(404, _INVALID, "request_not_found"),
    StoredFileNotFound: HttpFace(404, _INVALID, "file_not_found"),
    BatchNotFound: HttpFace(404, _INVALID, "batch_not_found"),
    RouteNotFound: HttpFace(404, _INVALID, "not_found"),
    MethodNotAllowed: HttpFace(405, _INVALID, "method_not_allowed"),
    RequestTimeout: HttpFace(408, _INVALID, "request_timeout"),
    Unauthorized: HttpFace(401, "authentication_error", "invalid_api_key"),
    Forbidden: HttpFace(403, "permission_error", "forbidden"),
    DuplicateInProgress: HttpFace(409, _INVALID, "duplicate_in_progress"),
    ModelConflict: HttpFace(409, _INVALID, "model_conflict"),
    ModelNotStarted: HttpFace(422, _INVALID, "model_not_started"),
    IdempotencyKeyReused: HttpFace(422, _INVALID, "idempotency_key_reused"),
    Quarantined: HttpFace(422, _INVALID, "quarantined"),
    RateLimited: HttpFace(429, "rate_limit_error", "rate_limited"),
    Overloaded: HttpFace(503, _UNAVAILABLE, "overloaded"),
    StorageFull: HttpFace(507, _UNAVAILABLE, "insufficient_storage"),
    ShuttingDown: HttpFace(503, _UNAVAILABLE, "shutting_down"),
    WorkerLost: HttpFace(503, _UNAVAILABLE, "worker_lost"),
    EngineFailed: HttpFace(503, _UNAVAILABLE, "engine_failed"),
    DeadlineExceeded: HttpFace(504, "timeout_error", "deadline_exceeded"),
    InternalFault: HttpFace(500, "server_error", "internal_error"),
}
"""Maps errors to HTTP responses; any other error is reported as an `InternalFault`."""

ERRORS_BY_CODE: dict[str, type[SilklineError]] = {
    face.code: error for error, face in HTTP_FACES.items()
}
"""The inverse: raises an error again that crossed a process boundary as its code."""


SERVER_FAULTS = frozenset(
    face.code for face in HTTP_FACES.values() if face.status >= _FIRST_SERVER_STATUS
)
"""The codes of errors that the server is to blame for (5xx)."""

BUSY: tuple[type[SilklineError], ...] = (DeadlineExceeded, Overloaded, RateLimited, ShuttingDown)
"""Errors of a server that has no room for what is not urgent; they say nothing about the model."""


@dataclass(frozen=True, slots=True)
class ExitCode:
    """Exit codes of the command line."""

    done: int = 0
    failed: int = 1
    usage: int = 2
    gate_refused: int = 3
    environment: int = 4


EXIT = ExitCode()

EXIT_CODES: dict[type[SilklineError], int] = {
    ConfigError: EXIT.usage,
    EnvironmentFault: EXIT.environment,
}
"""Maps errors to exit codes; every other error exits with 1."""


def http_face(error: SilklineError) -> HttpFace:
    """Returns the HTTP face of an error, by its exact class: subclasses do not inherit it."""
    return HTTP_FACES.get(type(error), HTTP_FACES[InternalFault])


def exit_code(error: SilklineError) -> int:
    """Returns the exit code for an error that ends a command."""
    return EXIT_CODES.get(type(error), EXIT.failed)


def shutting_down() -> ShuttingDown:
    """The error for requests that arrive while this server drains or closes."""
    return ShuttingDown("This server is shutting down. Retry later, or on another server.")


def not_running() -> ShuttingDown:
    """The error of an engine that has not been started, or was closed."""
    return ShuttingDown("The engine is not running. Retry later.")
