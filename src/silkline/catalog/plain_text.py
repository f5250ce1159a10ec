"""Texts as a reader sees them, so that look-alike characters hide nothing from the checks."""

from __future__ import annotations

import unicodedata

_LOOK_ALIKES = str.maketrans("авеікмнорстухѕјԁαεικνορτυχ", "abeikmhopctyxsjdaeiknoptux")
"""Cyrillic and Greek letters that look like Latin ones."""


def plain_text(text: str) -> str:
    """The text in lower case, without full-width, invisible and look-alike characters."""
    compatible = unicodedata.normalize("NFKC", text)
    seen = "".join(one for one in compatible if unicodedata.category(one) not in {"Cf", "Mn"})
    return " ".join(seen.casefold().translate(_LOOK_ALIKES).split())
