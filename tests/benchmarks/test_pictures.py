from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import pictures
from benchmarks.pictures import DISTINCT, SIZE, Pictures


def pixels(jpeg: bytes) -> bytes:
    with Image.open(io.BytesIO(jpeg)) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (SIZE, SIZE)
        return picture.tobytes()


def test_pictures_are_distinct_and_the_same_every_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "SCENES", 2)
    first, again = Pictures(tmp_path), Pictures(tmp_path)

    seen = [pixels(first.jpeg(number)) for number in range(12)]

    assert len(set(seen)) == 12
    assert [pixels(again.jpeg(number)) for number in range(12)] == seen
    assert len(list(tmp_path.iterdir())) == 2


def test_the_sequence_is_long_enough_for_any_run() -> None:
    assert DISTINCT > 200_000
    windows = (pictures._WINDOWS_A_SIDE**2, pictures._STRIDE)
    assert len({n * windows[1] % windows[0] for n in range(windows[0])}) == windows[0]
