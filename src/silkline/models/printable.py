"""Words of strangers, made fit to be printed: none of them moves a cursor or begins a line."""

from __future__ import annotations

MAX_CHARACTERS = 200
_CUT = "..."


def printable(text: str, maximum: int = MAX_CHARACTERS) -> str:
    r"""A text as one line that a terminal only shows.

    What is no letter, digit, sign or plain space (controls, line ends, marks that turn the
    direction of writing) is spelled as Python spells it, such as `\x1b`.

    Args:
        text: From a model's files, or a message that may quote them.
        most: Characters to keep; a longer one ends with three dots. At least 3.
    """
    shown = "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii")
        for sign in text[: maximum + 1]
    )
    return shown if len(shown) <= maximum else shown[: maximum - len(_CUT)] + _CUT
