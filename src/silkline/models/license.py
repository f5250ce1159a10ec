"""Reads a model's licence from its files."""

from __future__ import annotations

import re
from pathlib import Path

_MAX_CARD_BYTES = 1024 * 1024
_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)\r?\n---[ \t]*\r?$", re.DOTALL | re.MULTILINE)
_KEY = re.compile(
    r"^(license|license_name):[ \t]*(?:\r?\n[ \t]*-[ \t]*)?['\"]?([\w.+ -]{1,80}?)['\"]?[ \t]*\r?$",
    re.MULTILINE,
)
_TEXTS = (
    ("Apache License", "apache-2.0"),
    ("MIT License", "mit"),
    ("BSD 3-Clause", "bsd-3-clause"),
)
_HEADING = 400
"""The licence's name must be within this many characters of its text."""


def read_license(folder: Path) -> str | None:
    """Reads the licence from a model's card, or else from a licence text beside it.

    The card's metadata is the YAML between the first two lines of three dashes
    (https://huggingface.co/docs/hub/model-cards#model-card-metadata); of it, the keys `license`
    and, where that says "other", `license_name` are read.

    Returns:
        The hub's identifier, such as "apache-2.0"; "see FILE" if the licence's text is not one of
        the well-known ones; None if there is neither.
    """
    front = _FRONT_MATTER.match(_beginning(folder / "README.md"))
    keys = dict(_KEY.findall(front[1])) if front else {}
    if named := keys.get("license"):
        return keys.get("license_name", named) if named == "other" else named
    for name in ("LICENSE", "LICENSE.txt", "LICENSE.md"):
        if text := _beginning(folder / name)[:_HEADING]:
            known = (license_ for title, license_ in _TEXTS if title.lower() in text.lower())
            return next(known, f"see {name}")
    return None


def _beginning(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_CARD_BYTES).decode("utf-8", errors="replace")
    except OSError:  # many models have no card
        return ""
