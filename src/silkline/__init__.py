"""Silkline takes a vision-language model from a model id to a measured, gated endpoint."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        """Reads the version from the package's metadata when somebody asks for it.

        Decoding children and workers import this package and do not.
        """
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import version  # noqa: PLC0415 - takes longer than the rest

        return version("silkline")
