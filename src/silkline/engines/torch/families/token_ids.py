"""Token ids as generation_config.json names them."""

from __future__ import annotations

from typing import Any


def forbidden_tokens(generation_config: Any) -> frozenset[int]:
    """Returns the tokens that `generate` forbids regardless of context."""
    words = getattr(generation_config, "bad_words_ids", None) or []
    single = frozenset(word[0] for word in words if len(word) == 1)
    return single | as_ids(getattr(generation_config, "suppress_tokens", None))


def as_ids(value: int | list[int] | None) -> frozenset[int]:
    """Returns token ids as files name them: none, one or several."""
    if value is None:
        return frozenset()
    return frozenset([value] if isinstance(value, int) else value)
