"""Product pictures for the benchmarks: JPEGs of 384 x 384 pixels, no two of them the same.

A few hundred scenes are drawn once by the generator of the bundled model (`recipes/mini`), from
seeds that it was not trained on, and kept in `.cache/`. Every picture is a different window of one
of them, encoded anew, so that no cache between client and model can help.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from recipes.mini.render import render
from recipes.mini.scene import TEST_SEEDS, Scene, sample_scene

SIZE = 384
"""Width and height of a picture where nothing else is asked for, in pixels."""

SCENES = 256
"""Scenes that are drawn."""

_MARGIN = 32
_WINDOWS_A_SIDE = _MARGIN + 1
_FIRST_SEED = TEST_SEEDS[500_000]
_SCENE_QUALITY = 95
_PICTURE_QUALITY = 90
_STRIDE = 389
"""Prime to the number of windows, so that neighbours in the sequence are far apart."""

DISTINCT = SCENES * _WINDOWS_A_SIDE**2
"""How many pictures there are before the first one comes again."""


class Pictures:
    """The sequence of pictures; picture `n` has the same bytes every time."""

    def __init__(self, folder: Path, size: int = SIZE) -> None:
        """Scenes are read from `folder` when they are needed, and drawn when they are not there.

        Args:
            folder: Keeps the scenes.
            size: Width and height of a picture, in pixels.
        """
        self._folder = folder
        self._size = size
        self._scenes: dict[int, Image.Image] = {}

    def draw(self) -> None:
        """Draws the scenes that are not in the folder yet; takes about ten seconds for all."""
        for number in range(SCENES):
            self._scene(number)

    def jpeg(self, number: int) -> bytes:
        """The bytes of a picture; `number` counts from 0 and repeats after `DISTINCT`."""
        scene = self._scene(number % SCENES)
        window = number // SCENES * _STRIDE % _WINDOWS_A_SIDE**2
        top, left = divmod(window, _WINDOWS_A_SIDE)
        encoded = io.BytesIO()
        box = left, top, left + self._size, top + self._size
        scene.crop(box).save(encoded, "JPEG", quality=_PICTURE_QUALITY)
        return encoded.getvalue()

    def truth(self, number: int) -> Scene:
        """What a picture shows."""
        return sample_scene(_FIRST_SEED + number % SCENES)

    def _scene(self, number: int) -> Image.Image:
        if number not in self._scenes:
            size = self._size + _MARGIN
            path = self._folder / f"{size}-{number:03}.jpg"
            if not path.is_file():
                _draw(number, size, path)
            with Image.open(path) as scene:
                self._scenes[number] = scene.convert("RGB")
        return self._scenes[number]


def _draw(number: int, size: int, path: Path) -> None:
    drawn = render(sample_scene(_FIRST_SEED + number), size)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    Image.fromarray(drawn.picture).save(unfinished, "JPEG", quality=_SCENE_QUALITY)
    unfinished.replace(path)
