"""Where two texts differ, word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher
from enum import Enum

_CHUNK = re.compile(r"\s+|\w+|[^\w\s]")
_MAX_CHUNKS = 1_000


class Part(Enum):
    """What a chunk of a diff is, by the HTML element that marks it."""

    SAME = ""
    MISSING = "del"
    EXTRA = "ins"


def diff_words(right: str, said: str) -> Iterator[tuple[Part, str]]:
    """The chunks of both texts in reading order: common ones, those missing and those too many.

    Words, marks and runs of space are the units; what comes after the first 1,000 of them is left
    out, since the time grows with their square.
    """
    first, second = (_CHUNK.findall(text)[:_MAX_CHUNKS] for text in (right, said))
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    for _, begin, end, place, stop in matcher.get_opcodes():
        missing, extra = "".join(first[begin:end]), "".join(second[place:stop])
        if missing == extra:
            yield Part.SAME, extra
            continue
        if missing:
            yield Part.MISSING, missing
        if extra:
            yield Part.EXTRA, extra
