"""The error tree, and the two tables that give each error its HTTP face and its exit code.

    SilklineError
    ├── InputError                 the request is wrong; sending it again will not help
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
    │   ├── RouteNotFound          404 not_found
    │   ├── MethodNotAllowed       405 method_not_allowed
    │   ├── RequestTimeout         408 request_timeout
    │   ├── Unauthorized           401 invalid_api_key
    │   ├── Forbidden              403 forbidden
    │   ├── IdempotencyKeyReused   422 idempotency_key_reused
    │   └── Quarantined            422 quarantined
    ├── CapacityError              the request is fine, Silkline is not able to serve it now
    │   ├── DuplicateInProgress    409 duplicate_in_progress
    │   ├── RateLimited            429 rate_limited
    │   ├── Overloaded             503 overloaded
    │   ├── ShuttingDown           503 shutting_down
    │   ├── WorkerLost             503 worker_lost
    │   ├── EngineFailed           503 engine_failed
    │   └── DeadlineExceeded       504 deadline_exceeded
    ├── ConfigError                a setting is wrong
    ├── EnvironmentFault           this machine lacks something; the message names the command
    └── InternalFault              500 internal_error: always a bug

Messages of `InputError`s and `CapacityError`s reach the client: they never hold the text of a
foreign exception, a path or an address.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

UNDECODABLE = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What msgspec raises over a document that is not what it should be; the last for depth."""


class SilklineError(Exception):
    """Anything that Silkline refuses or fails to do.

    Attributes:
        message: What happened, what was expected and what to do.
        param: The field of the request that is at fault, in the client's terms.
    """

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InputError(SilklineError):
    """The request is wrong; sending it again unchanged will not help."""


class InvalidRequest(InputError):
    """The request does not have the documented form, or a value is out of range."""


class UrlBlocked(InputError):
    """The URL points where the gateway may not go."""


class ImageFetchFailed(InputError):
    """The picture's origin did not give it."""


class ImageUndecodable(InputError):
    """The bytes claim to be a picture of a known format, but are not a whole one."""


class ImageFormat(InputError):
    """The bytes are not a picture of a supported format."""


class UnsupportedEncoding(InputError):
    """The body has a Content-Encoding that is not taken; Accept-Encoding lists those that are."""


class ImageTooLarge(InputError):
    """A picture has too many bytes or pixels."""


class RequestTooLarge(InputError):
    """The body is too long, or holds too many pictures or messages."""


class HeadersTooLarge(InputError):
    """The request's headers are too long or too many."""


class ModelNotFound(InputError):
    """The request names a model that is not served here."""


class RouteNotFound(InputError):
    """There is nothing at this path."""


class MethodNotAllowed(InputError):
    """The path is known, but not with this HTTP method."""


class RequestTimeout(InputError):
    """The client took too long to send its request."""


class Unauthorized(InputError):
    """No key was given, or none that is known."""


class Forbidden(InputError):
    """The key is known, but may not do this."""


class IdempotencyKeyReused(InputError):
    """The idempotency key was used before, for another request."""


class Quarantined(InputError):
    """The request ended two workers and is not tried again."""


class CapacityError(SilklineError):
    """Silkline cannot serve the request now; it may later.

    Attributes:
        retry_after: Whole seconds after which to try again, at least 1; None when trying again is
            no better than the first time.
    """

    def __init__(
        self, message: str, *, param: str | None = None, retry_after: int | None = 1
    ) -> None:
        super().__init__(message, param=param)
        self.retry_after = retry_after


class DuplicateInProgress(CapacityError):
    """A request with the same idempotency key is still being answered."""


class RateLimited(CapacityError):
    """The tenant asks for more than its own limit; others are served."""


class Overloaded(CapacityError):
    """More is asked than can be answered in time."""


class ShuttingDown(CapacityError):
    """The server drains and takes no new requests."""


class WorkerLost(CapacityError):
    """The engine's process ended while it worked on the request."""


class EngineFailed(CapacityError):
    """The engine failed at this request, and goes on with others."""


class DeadlineExceeded(CapacityError):
    """The request's time was over before its answer was whole."""

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message, param=param, retry_after=None)


class ConfigError(SilklineError):
    """A setting is unknown or out of range."""


class EnvironmentFault(SilklineError):
    """This machine lacks something that the command needs.

    Attributes:
        remedy: The command that mends it, or None where there is none.
    """

    def __init__(self, message: str, *, remedy: str | None = None) -> None:
        super().__init__(message if remedy is None else f"{message} Run: {remedy}")
        self.remedy = remedy


class InternalFault(SilklineError):
    """A defect in Silkline."""


@dataclass(frozen=True, slots=True)
class HttpFace:
    """How an error looks over HTTP: its status, its OpenAI error type and its code."""

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
    RouteNotFound: HttpFace(404, _INVALID, "not_found"),
    MethodNotAllowed: HttpFace(405, _INVALID, "method_not_allowed"),
    RequestTimeout: HttpFace(408, _INVALID, "request_timeout"),
    Unauthorized: HttpFace(401, "authentication_error", "invalid_api_key"),
    Forbidden: HttpFace(403, "permission_error", "forbidden"),
    DuplicateInProgress: HttpFace(409, _INVALID, "duplicate_in_progress"),
    IdempotencyKeyReused: HttpFace(422, _INVALID, "idempotency_key_reused"),
    Quarantined: HttpFace(422, _INVALID, "quarantined"),
    RateLimited: HttpFace(429, "rate_limit_error", "rate_limited"),
    Overloaded: HttpFace(503, _UNAVAILABLE, "overloaded"),
    ShuttingDown: HttpFace(503, _UNAVAILABLE, "shutting_down"),
    WorkerLost: HttpFace(503, _UNAVAILABLE, "worker_lost"),
    EngineFailed: HttpFace(503, _UNAVAILABLE, "engine_failed"),
    DeadlineExceeded: HttpFace(504, "timeout_error", "deadline_exceeded"),
    InternalFault: HttpFace(500, "server_error", "internal_error"),
}
"""The one table from error to HTTP; an error that is not in it is an `InternalFault` there."""

ERRORS_BY_CODE: dict[str, type[SilklineError]] = {
    face.code: error for error, face in HTTP_FACES.items()
}
"""The way back: how an error that crossed a process boundary as its code is raised again."""


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
"""The one table from error to exit code; every other error exits with 1."""


def http_face(error: SilklineError) -> HttpFace:
    """The HTTP face of an error, by its own class only: the table has no inheritance."""
    return HTTP_FACES.get(type(error), HTTP_FACES[InternalFault])


def exit_code(error: SilklineError) -> int:
    """The exit code for an error that ends a command."""
    return EXIT_CODES.get(type(error), EXIT.failed)


def shutting_down() -> ShuttingDown:
    """What a request is told that finds this server at its end."""
    return ShuttingDown("This server is shutting down. Send the request again, or elsewhere.")


def not_running() -> ShuttingDown:
    """What an engine says that has not been started, or was closed."""
    return ShuttingDown("The engine does not run.")
