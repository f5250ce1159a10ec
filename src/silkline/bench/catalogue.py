"""The images to send: drawn ones, a folder of the user's own, or a file of requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from silkline.bench.drawn import SMALLEST, STEP, DrawnImages
from silkline.bench.spec import Form, Traffic
from silkline.errors import UNDECODABLE, ConfigError

MAX_BYTES = 1024**3
"""Maximum total bytes of a user's own images. They are held in memory, so that reading them takes
no time while the clock runs."""

_MEDIA_TYPES = {
    ".avif": "image/avif",
    ".bmp": "image/bmp",
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".tif": "image/tiff",
    ".tiff": "image/tiff",
    ".webp": "image/webp",
}


@dataclass(frozen=True, slots=True)
class CatalogueImage:
    """An encoded image, or its URL if `url` is set."""

    media_type: str
    data: bytes
    url: str = ""


class Catalogue(Protocol):
    """Images by number; the same number gives the same image in every process."""

    @property
    def size(self) -> int:
        """Number of images in the catalogue; 0 is the most popular."""
        ...

    def image(self, number: int, variant: int) -> CatalogueImage:
        """The image of a number; numbers from `size` on give new images."""
        ...

    def prompt(self, number: int) -> str:
        """The prompt of an image."""
        ...


class DrawnCatalogue:
    """Drawn images: as many as needed, including new ones and near duplicates."""

    def __init__(self, traffic: Traffic) -> None:
        """Draws the scenes. Raises `ConfigError` for an unsupported size."""
        if traffic.pixels % STEP or traffic.pixels < SMALLEST:
            raise ConfigError(
                f"The side of drawn images is {traffic.pixels} pixels. Expected a multiple of "
                f"{STEP}, at least {SMALLEST}."
            )
        self._drawn = DrawnImages(traffic.pixels)
        self._prompts = traffic.prompts
        self.size = traffic.catalogue

    def image(self, number: int, variant: int) -> CatalogueImage:
        """See `Catalogue`."""
        return CatalogueImage("image/jpeg", self._drawn.jpeg(number, variant))

    def prompt(self, number: int) -> str:
        """See `Catalogue`."""
        return self._prompts[number % len(self._prompts)]


class _Line(msgspec.Struct, forbid_unknown_fields=True):
    """A line of a requests file."""

    image: str = msgspec.field(name="picture")
    prompt: str = ""


class OwnCatalogue:
    """The user's own images, all in memory."""

    def __init__(self, images: Sequence[CatalogueImage], prompts: Sequence[str]) -> None:
        """Takes the images, most popular first, and prompts, which are used in rotation."""
        self._images = images
        self._prompts = prompts
        self.size = len(images)

    def image(self, number: int, variant: int) -> CatalogueImage:
        """The image of a number; the user's own images have no variants."""
        del variant
        return self._images[number]

    def prompt(self, number: int) -> str:
        """See `Catalogue`."""
        return self._prompts[number % len(self._prompts)]


def load_catalogue(traffic: Traffic) -> Catalogue:
    """Loads the catalogue that the traffic names.

    Raises:
        ConfigError: The folder or the file cannot be used.
    """
    if traffic.requests:
        return _from_requests(Path(traffic.requests), traffic)
    if traffic.folder:
        return _from_folder(Path(traffic.folder), traffic.prompts)
    return DrawnCatalogue(traffic)


def _from_folder(folder: Path, prompts: Sequence[str]) -> OwnCatalogue:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _MEDIA_TYPES)
    if not paths:
        raise ConfigError(f"The folder {folder} has no images. Expected {', '.join(_MEDIA_TYPES)}.")
    return OwnCatalogue(_read(paths), prompts)


def _from_requests(file: Path, traffic: Traffic) -> OwnCatalogue:
    try:
        lines = [
            msgspec.json.decode(line, type=_Line)
            for line in file.read_bytes().splitlines()
            if line.strip()
        ]
    except (OSError, *UNDECODABLE) as error:
        raise ConfigError(
            f'The file {file} cannot be read: {error}. Write {{"picture": "cup.jpg", "prompt": '
            '"What is this?"} on each line; the picture is a URL, or a path relative to the file.'
        ) from error
    if not lines:
        raise ConfigError(f"The file {file} has no requests.")
    if traffic.form is Form.UPLOAD and any(_is_url(line.image) for line in lines):
        raise ConfigError(f"The file {file} names URLs, which cannot be uploaded. Use --as url.")
    local = sorted({line.image for line in lines if not _is_url(line.image)})
    read = dict(zip(local, _read([file.parent / name for name in local]), strict=True))
    images = [read.get(line.image) or CatalogueImage("", b"", line.image) for line in lines]
    prompts = traffic.prompts
    own_prompts = [line.prompt or prompts[index % len(prompts)] for index, line in enumerate(lines)]
    return OwnCatalogue(images, own_prompts)


def _read(paths: Sequence[Path]) -> list[CatalogueImage]:
    images, left = [], MAX_BYTES
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ConfigError(f"The image {path} cannot be read: {error.strerror}.") from error
        left -= len(data)
        if left < 0:
            raise ConfigError(
                f"The images have more than {MAX_BYTES // 1024**2} MiB in total, and are held "
                "in memory. Use fewer images."
            )
        images.append(CatalogueImage(_MEDIA_TYPES.get(path.suffix.lower(), "image/jpeg"), data))
    return images


def _is_url(text: str) -> bool:
    return text.startswith(("http://", "https://"))
