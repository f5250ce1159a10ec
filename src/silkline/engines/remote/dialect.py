"""Which of the request fields that Silkline adds itself a server accepts.

Silkline adds `stream_options` to each request, and always sends `top_p` and `max_tokens`. If a
server refuses one of them, Silkline sends an equivalent request: without `stream_options`, without
a `top_p` of 1, or with `max_completion_tokens` in place of `max_tokens`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from silkline.core import Sampling
from silkline.engines.remote.failures import refused_fields

_STREAM_OPTIONS = "stream_options"
_TOP_P = "top_p"
_NEWER_NAMES = {"max_tokens": "max_completion_tokens"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """The request fields that one server accepts.

    Attributes:
        refused: Fields that the server refuses.
        proven: Whether it has accepted a request in this dialect.
    """

    refused: frozenset[str] = frozenset()
    proven: bool = False

    def translate(self, body: dict[str, Any]) -> dict[str, Any]:
        """A request body with the fields that this server accepts."""
        fields = {}
        for name, value in body.items():
            if name not in self.refused or (name == _TOP_P and value != 1):
                fields[name] = value
            elif name in _NEWER_NAMES:
                fields[_NEWER_NAMES[name]] = value
        return fields

    def after(self, refusal: bytes, sampling: Sampling) -> Dialect | None:
        """The dialect to retry a refused request in; None if there is none left to try.

        A server that has not accepted any request yet may refuse `stream_options` without naming
        it.

        Args:
            refusal: The body of the refusal.
            sampling: The request's sampling parameters.
        """
        replaceable = {_STREAM_OPTIONS, *_NEWER_NAMES} - self.refused
        if sampling.top_p == 1:
            replaceable |= {_TOP_P} - self.refused
        named = refused_fields(refusal)
        if not named and not self.proven:
            named = [_STREAM_OPTIONS]
        field = next((name for name in named if name in replaceable), None)
        return Dialect(self.refused | {field}) if field is not None else None

    def accepted(self) -> Dialect:
        """This dialect, marked as accepted by the server."""
        return self if self.proven else replace(self, proven=True)
