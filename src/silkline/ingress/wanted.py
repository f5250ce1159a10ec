"""In which form the engines of a model take images."""

from __future__ import annotations

from enum import StrEnum


class Wanted(StrEnum):
    """What a request's images must have.

    A file is only passed on if normalising would change no pixel; all other images have pixels,
    whatever is wanted.
    """

    PIXELS = "pixels"
    """The pixels: the engine runs on this machine, or its server gets new files."""
    PIXELS_AND_FILE = "pixels and file"
    """Both: some engines take pixels and others files."""
    FILE = "file"
    """The file, instead of the pixels: only servers that take files. It was decoded once."""
    UNDECODED_FILE = "undecoded file"
    """The same, but the file is not decoded: its header says that nothing would change.

    Its identity is a digest of the file, not of the pixels.
    """

    @property
    def has_pixels(self) -> bool:
        """Whether every image has its pixels."""
        return self in {Wanted.PIXELS, Wanted.PIXELS_AND_FILE}

    @property
    def has_file(self) -> bool:
        """Whether images may have their file."""
        return self is not Wanted.PIXELS
