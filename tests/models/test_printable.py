"""Words of strangers, on one line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silkline.models.printable import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("llava", "llava"),
        ("Größe 写真 😀", "Größe 写真 😀"),
        ("\x1b[2J\x1b]0;title\x07", r"\x1b[2J\x1b]0;title\x07"),
        ("a\r\nsilkline: all is well", r"a\r\nsilkline: all is well"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("line\u2028end", r"line\u2028end"),
        ("\udcff", r"\udcff"),
    ],
)
def test_what_a_terminal_would_obey_is_spelled_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_long_words_are_cut() -> None:
    assert printable("a" * 200) == "a" * 200
    assert printable("a" * 201) == "a" * 197 + "..."
    assert printable("\x1b" * 50, 20) == r"\x1b\x1b\x1b\x1b" + "\\..."


@given(st.text(), st.integers(3, 50))
def test_nothing_but_signs_comes_out(text: str, most: int) -> None:
    shown = printable(text, most)
    assert shown.isprintable()
    assert len(shown) <= most
    assert printable(shown, most) == shown
