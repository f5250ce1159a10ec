"""Which of the fields that no client asked for a server takes.

Silkline adds `stream_options` to each request, and always says `top_p` and `max_tokens`. A server
that refuses one of them is asked again in another way that asks for the same: without
`stream_options`, without a `top_p` of 1, with `max_completion_tokens` in place of `max_tokens`.
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
    """How one server is asked.

    Attributes:
        refused: Fields that the server refuses.
        proven: Whether it took a request in this dialect.
    """

    refused: frozenset[str] = frozenset()
    proven: bool = False

    def spoken(self, body: dict[str, Any]) -> dict[str, Any]:
        """The fields of a request as this server takes them."""
        spoken = {}
        for name, value in body.items():
            if name not in self.refused or (name == _TOP_P and value != 1):
                spoken[name] = value
            elif name in _NEWER_NAMES:
                spoken[_NEWER_NAMES[name]] = value
        return spoken

    def after(self, refusal: bytes, sampling: Sampling) -> Dialect | None:
        """What to try next when a request was refused; None where nothing is left to try.

        A server that never took a request may refuse `stream_options` without naming it.

        Args:
            refusal: The body of the response.
            sampling: What the request asked for.
        """
        ours = {_STREAM_OPTIONS, *_NEWER_NAMES} - self.refused
        if sampling.top_p == 1:
            ours |= {_TOP_P} - self.refused
        named = refused_fields(refusal)
        if not named and not self.proven:
            named = [_STREAM_OPTIONS]
        field = next((name for name in named if name in ours), None)
        return Dialect(self.refused | {field}) if field is not None else None

    def taken(self) -> Dialect:
        """The same, after the server took a request."""
        return self if self.proven else replace(self, proven=True)
