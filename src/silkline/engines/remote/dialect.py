"""The fields that one server accepts, as far as is known.

A server may refuse a field that Silkline adds, or that it knows by an older name. Silkline then
sends an equivalent request, and remembers the refusal.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from silkline.engines.remote.failures import refused_fields
from silkline.engines.remote.fields import Body
from silkline.engines.remote.servers import ServerKind, in_words_of

_STREAM_OPTIONS = "stream_options"


@dataclass(frozen=True, slots=True)
class Dialect:
    """The fields that one server accepts.

    Attributes:
        server: The kind of server.
        context_length: Maximum tokens of its prompt and answer together.
        refused: Fields that it refuses.
        proven: Whether it has accepted a request with `stream_options` in this dialect.
    """

    server: ServerKind = ServerKind.COMMON
    context_length: int = 0
    refused: frozenset[str] = frozenset()
    proven: bool = False

    def translate(self, fields: Body) -> Body:
        """The fields of a request in the words of this server."""
        sent: Body = {}
        for name, value in in_words_of(self.server, fields, self.context_length).items():
            equivalent = _equivalent(name, value) if name in self.refused else None
            sent |= {name: value} if equivalent is None else equivalent
        return sent

    def after(self, refusal: bytes, sent: Body) -> Dialect | None:
        """The dialect to retry a refused request in; None if there is none left to try.

        A server that has not accepted `stream_options` yet may refuse it without naming it.

        Args:
            refusal: The body of the refusal.
            sent: The fields that were sent.
        """
        named = refused_fields(refusal, sent)
        if not named and not self.proven:
            named = [_STREAM_OPTIONS]
        for name in named:
            if name in sent and _equivalent(name, sent[name]) is not None:
                return replace(self, refused=self.refused | {name}, proven=False)
        return None

    def accepted(self, sent: Body) -> Dialect:
        """This dialect, after the server accepted a request with these fields."""
        return self if self.proven or _STREAM_OPTIONS not in sent else replace(self, proven=True)


def _equivalent(name: str, value: Any) -> Mapping[str, Any] | None:
    """Other fields that ask for the same; None if there are none."""
    match name, value:
        case ("stream_options", _) | ("top_p", 1):
            return {}
        case "max_tokens", _:
            return {"max_completion_tokens": value}
        case "structured_outputs", _:  # vLLM before 0.11
            return {f"guided_{kind}": constraint for kind, constraint in value.items()}
        case "chat_template_kwargs", {"enable_thinking": False}:
            return {"reasoning_effort": "none"}
    return None
