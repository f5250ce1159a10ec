from __future__ import annotations

from html.parser import HTMLParser
from itertools import pairwise

import pytest

from silkline.report.svg import Drawing, Scale, interval

HOSTILE = """</text><script>alert(1)</script>"'&{{ 7 * 7 }}"""


class Elements(HTMLParser):
    """Collects the elements and the values of their attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("log", [False, True])
def test_ticks_are_round_and_inside(log: bool) -> None:
    for low, high in ((0.001, 3), (0.5, 0.9), (1, 20_000)):
        scale = Scale(low, high, 0, 100, log)
        ticks = scale.ticks(6)
        assert ticks or log
        assert all(low * 0.99 <= tick <= high * 1.01 for tick in ticks)
        assert all(scale(one) < scale(other) for one, other in pairwise(ticks))
        assert (scale(low), scale(high), scale(high * 9)) == (0, 100, 100)


def test_texts_and_classes_of_a_drawing_are_escaped() -> None:
    drawing = Drawing(100, HOSTILE, HOSTILE)
    drawing.text((1, 2), HOSTILE, HOSTILE)
    drawing.rect((0, 0, 1, 1), HOSTILE, HOSTILE)
    drawing.line((0, 0), (1, 1), HOSTILE)
    drawing.path([(0, 0), (1, 1)], HOSTILE)
    drawing.limit(drawing.y(0, 1), 0.5, HOSTILE)
    found = Elements()
    found.feed(drawing.render())
    assert found.names == ["svg", "text", "rect", "title", "line", "polyline", "line", "text"]
    assert "".join(found.text) == HOSTILE * 3
    assert [value for name, value in found.attributes if name == "class"][:4] == [HOSTILE] * 4


@pytest.mark.parametrize(
    ("low", "value", "high", "x"),
    [(-0.5, 0.0, 0.5, ["68", "128", "188"]), (-9.0, 0.25, 9.0, ["8", "158", "248"])],
)
def test_an_interval_lies_on_its_scale(low: float, value: float, high: float, x: list[str]) -> None:
    found = Elements()
    found.feed(interval(value, low, high, 1.0, tone="up", label=HOSTILE))
    assert found.names == ["svg", "line", "line", "circle"]
    placed = dict(found.attributes)
    assert [placed[name] for name in ("x1", "cx", "x2")] == x
    assert (placed["aria-label"], found.attributes[0][1]) == (HOSTILE, "interval up")
