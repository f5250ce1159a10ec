"""What nginx, HAProxy and Envoy are rendered from: one description of a load balancer."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from silkline.config import Settings, UpstreamSettings
from silkline.deploy.prometheus.scrape import gateway_address

CONNECT_SECONDS = 2
"""Maximum time to connect to a gateway; then the next one is tried."""

EJECT_SECONDS = 5
"""How long a gateway that could not be reached gets no requests."""

CHECK_SECONDS = 1
"""Interval of the checks of /ready, for balancers that check."""

MAX_TRIES = 3
"""Maximum gateways that a request is sent to."""

BACKLOG = 1024
IDLE_CONNECTIONS = 32
"""Maximum idle connections to gateways that each of the balancer's processes keeps."""

_MARGIN_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error that the load balancer answers itself, in the form of the OpenAI API.

    Attributes:
        status: Its HTTP status.
        kind: Its type in the body.
        code: Its code in the body.
        message: What happened, for people.
        retry_seconds: Value of `Retry-After`; 0 means none.
    """

    status: int
    kind: str
    code: str
    message: str
    retry_seconds: int = 0

    @property
    def body(self) -> str:
        """The body as JSON in one line."""
        error = {"message": self.message, "type": self.kind, "param": None, "code": self.code}
        return json.dumps({"error": error})


REFUSALS = (
    Refusal(404, "invalid_request_error", "not_found", "There is nothing at this path."),
    Refusal(
        408, "invalid_request_error", "request_timeout", "The request took too long to arrive."
    ),
    Refusal(
        413, "invalid_request_error", "request_too_large", "The body is larger than allowed here."
    ),
    Refusal(
        429, "rate_limit_error", "rate_limited", "Too many requests came from this address.", 1
    ),
    Refusal(502, "server_error", "overloaded", "The server that had this request was lost.", 1),
    Refusal(503, "server_error", "overloaded", "No server can take this request now.", 1),
    Refusal(504, "server_error", "deadline_exceeded", "The answer was not complete in time."),
)


@dataclass(frozen=True, slots=True)
class Balancer:
    """A load balancer in front of gateways, as the settings describe it.

    Attributes:
        settings: All settings.
        upstreams: The gateways, and their weights.
    """

    settings: Settings
    upstreams: tuple[UpstreamSettings, ...]

    @classmethod
    def of(cls, settings: Settings) -> Balancer:
        """Returns the load balancer in front of `upstreams`, else of the gateway itself."""
        own = UpstreamSettings(address=gateway_address(settings))
        return cls(settings, settings.deploy.upstreams or (own,))

    @property
    def idle_seconds(self) -> int:
        """How long an idle connection to a gateway is kept.

        The gateway closes it later than that, so that no request is sent on one that it closes.
        """
        keep_alive = self.settings.server.keep_alive_timeout
        return max(1, keep_alive - _MARGIN_SECONDS)

    @property
    def answer_seconds(self) -> int:
        """How long a gateway may send nothing: longer than it works on a request itself."""
        return math.ceil(self.settings.server.request_timeout) + _MARGIN_SECONDS

    @property
    def head_seconds(self) -> int:
        """How long a client may take for the headers."""
        return math.ceil(self.settings.server.head_timeout)

    @property
    def body_seconds(self) -> int:
        """How long a client may pause while it sends the body."""
        return math.ceil(self.settings.server.body_timeout)

    @property
    def write_seconds(self) -> int:
        """How long a client may pause while it reads the answer."""
        return math.ceil(self.settings.server.write_timeout)

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """The errors that the load balancer answers itself."""
        return REFUSALS
