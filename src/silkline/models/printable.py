"""Escapes untrusted text for printing, so that it cannot move the cursor or start a new line."""

from __future__ import annotations

MAX_CHARACTERS = 200
_CUT = "..."


def printable(text: str, maximum: int = MAX_CHARACTERS) -> str:
    r"""Escapes a text to a single line without control characters.

    Characters that are not printable (control characters, line ends, marks that change the writing
    direction) are written as Python escapes, such as `\x1b`.

    Args:
        text: Text from a model's files, or a message that may quote them.
        maximum: Maximum number of characters; a longer text is cut and ends with three dots. At
            least 3.
    """
    shown = "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in text[: maximum + 1]
    )
    return shown if len(shown) <= maximum else shown[: maximum - len(_CUT)] + _CUT
