"""The answer to a request that only tokenizes its prompt."""

from __future__ import annotations

from collections.abc import Sequence

from silkline.core import Delta, FinishReason, Timeline, Usage


def tokenized(ids: Sequence[int], image_tokens: int = 0) -> Delta:
    """Builds the only delta of the answer.

    Args:
        ids: The tokens of the prompt, image tokens included.
        image_tokens: How many of them are image tokens.
    """
    usage = Usage(len(ids), 0, image_tokens)
    return Delta("", FinishReason.LENGTH, usage, Timeline(), prompt_ids=tuple(ids))
